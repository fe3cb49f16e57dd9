from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.agent.lastgood import LastGood, RemoteState, decode
from llm_observe.errors import StateError

STATE = RemoteState({"sampling": {"ratio": 0.5}}, 12.5, b"\x01" * 32, False, "no")


def test_what_was_saved_is_loaded_after_a_restart(tmp_path: Path) -> None:
    LastGood.open(tmp_path, "s", "1").save(STATE)
    again = tmp_path / "s/0/remote.json"
    saved = decode(again.read_bytes())
    assert (saved.state, saved.version) == (STATE, "1")


def test_nothing_saved_is_no_trouble(tmp_path: Path) -> None:
    kept = LastGood.open(tmp_path, "s", "1")
    assert kept.load() is None
    assert (kept.trouble, kept.damaged) == ("", False)


def test_damage_is_noticed_and_said(tmp_path: Path) -> None:
    kept = LastGood.open(tmp_path, "s", "1")
    kept.save(STATE)
    file = tmp_path / "s/0/remote.json"
    file.write_bytes(file.read_bytes().replace(b"0.5", b"1.0"))
    assert kept.load() is None
    assert kept.damaged
    assert "damaged" in kept.trouble


def test_without_a_disk_the_process_goes_on_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = LastGood.open(tmp_path / "file", "s", "1")
    kept.save(STATE)
    assert kept.load() is None
    assert "not kept across restarts" in kept.trouble


@given(st.binary(max_size=200))
def test_garbage_is_a_state_error_and_nothing_else(data: bytes) -> None:
    with pytest.raises(StateError):
        decode(data)


def test_a_record_outlives_the_process_and_is_its_owners_alone(tmp_path: Path) -> None:
    kept = LastGood.open(tmp_path, "s", "1")
    assert kept.record("r.json") is None
    kept.keep_record("r.json", b"secret")
    assert (tmp_path / "s/0/r.json").stat().st_mode & 0o777 == 0o600
    kept.after_fork_in_child()  # gives the folder back
    assert LastGood.open(tmp_path, "s", "1").record("r.json") == b"secret"


def test_a_child_begins_with_its_parents_records_and_keeps_its_own(tmp_path: Path) -> None:
    parent = LastGood.open(tmp_path, "s", "1")
    parent.keep_record("r.json", b"parent's")
    child = parent.after_fork_in_child()
    assert child.record("r.json") == b"parent's"
    child.keep_record("r.json", b"child's")
    assert parent.record("r.json") == b"parent's"


def test_a_record_that_cannot_be_kept_or_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    nowhere = LastGood.open(tmp_path / "file", "s", "1")
    assert nowhere.record("r.json") is None
    with pytest.raises(OSError, match="state folder"):
        nowhere.keep_record("r.json", b"x")
    kept = LastGood.open(tmp_path, "s", "1")
    (tmp_path / "s/0/r.json").mkdir()
    with pytest.raises(OSError, match="cannot read"):
        kept.record("r.json")
    with pytest.raises(OSError, match="cannot write"):
        kept.keep_record("r.json", b"x")
