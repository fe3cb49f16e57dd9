import os
import subprocess
import sys
from pathlib import Path

import pytest

from llm_observe.errors import StateError
from llm_observe.statedir import StateDir, read_bytes, safe_name, write_atomic


def test_what_is_written_is_read_and_belongs_to_its_owner_only(tmp_path: Path) -> None:
    write_atomic(tmp_path / "f", b"one")
    write_atomic(tmp_path / "f", b"two")
    assert read_bytes(tmp_path / "f") == b"two"
    assert (tmp_path / "f").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["f"]


def test_a_write_that_fails_leaves_the_old_content(tmp_path: Path) -> None:
    write_atomic(tmp_path / "f", b"old")
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "f", "no bytes")  # type: ignore[arg-type]  # the fault under test
    assert read_bytes(tmp_path / "f") == b"old"
    assert os.listdir(tmp_path) == ["f"]


def test_a_file_over_the_limit_is_refused(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 11)
    with pytest.raises(StateError, match="larger than 10 bytes"):
        read_bytes(tmp_path / "f", limit=10)
    assert read_bytes(tmp_path / "absent") is None


def test_two_claims_get_two_slots_and_a_released_one_is_found_again(tmp_path: Path) -> None:
    first = StateDir.claim(tmp_path, "my service")
    first.write("x", b"1")
    second = StateDir.claim(tmp_path, "my service")
    assert (first.path, second.path) == (tmp_path / "my_service/0", tmp_path / "my_service/1")
    first.release()
    again = StateDir.claim(tmp_path, "my service")
    assert again.read("x") == b"1"
    again.delete("x")
    assert again.read("x") is None
    again.release()
    second.release()


def test_a_killed_process_gives_its_slot_back(tmp_path: Path) -> None:
    code = "import sys, pathlib; from llm_observe.statedir import StateDir; StateDir.claim(pathlib.Path(sys.argv[1]), 's'); print('claimed', flush=True); sys.stdin.read()"
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"claimed\n"
    child.kill()
    child.communicate()
    claimed = StateDir.claim(tmp_path, "s")
    assert claimed.path.name == "0"
    claimed.release()


def test_a_folder_that_cannot_be_made_is_a_state_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError):
        StateDir.claim(tmp_path / "file", "s")


@pytest.mark.parametrize(("name", "safe"), [("a/b", "a_b"), ("..", "_"), ("", "_"), (".x", "x")])
def test_a_service_name_never_leaves_its_folder(name: str, safe: str) -> None:
    assert safe_name(name) == safe
