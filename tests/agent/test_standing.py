from __future__ import annotations

import json
import os
from pathlib import Path

from llm_observe.agent import standing
from llm_observe.agent.lastgood import LastGood, RemoteState
from llm_observe.agent.options import Options, read_options
from llm_observe.uids import new_uid, uid_text
from llm_observe.version import __version__

REMOTE = RemoteState({"sampling": {"ratio": 0.5}}, 12.5, b"\x01" * 32)


def options(folder: Path, endpoint: str = "ws://h", **environ: str) -> Options:
    environ |= {"LLM_OBSERVE_STATE_DIR": str(folder), "OTEL_SERVICE_NAME": "s"}
    return read_options({"LLM_OBSERVE_OPAMP_ENDPOINT": endpoint, **environ}, 1.0)


def keep(folder: Path, state: RemoteState = REMOTE, version: str = __version__) -> None:
    kept = LastGood.open(folder, "s", version)
    kept.save(state)
    kept.after_fork_in_child()  # gives the folder back


def test_every_process_has_a_uid_of_its_own_that_is_its_service_instance_id(tmp_path: Path) -> None:
    first, second = standing.first(options(tmp_path)), standing.first(options(tmp_path))
    assert first.uid != second.uid
    assert first.resource.attributes["service.instance.id"] == uid_text(first.uid)


def test_what_the_control_plane_last_said_holds_on(tmp_path: Path) -> None:
    keep(tmp_path)
    now = standing.first(options(tmp_path))
    assert now.resolved.settings.sampling.ratio == 0.5
    assert now.remote == REMOTE


def test_without_an_endpoint_no_folder_is_made(tmp_path: Path) -> None:
    now = standing.first(options(tmp_path / "state", endpoint=""))
    assert now.remote == RemoteState()
    assert not (tmp_path / "state").exists()


def test_damage_means_caution_and_is_said(tmp_path: Path) -> None:
    keep(tmp_path)
    (tmp_path / "s/0/remote.json").write_text("{")
    now = standing.first(options(tmp_path, LLM_OBSERVE_CAPTURE_LEVEL="full"))
    assert str(now.resolved.settings.capture.level) == "metadata"
    assert "damaged" in now.lastgood.trouble


def test_what_another_version_kept_is_checked_before_it_is_used(tmp_path: Path) -> None:
    keep(tmp_path, RemoteState({"gone": {"key": 1}}), "0.0.1")
    now = standing.first(options(tmp_path))
    assert "gone" not in json.dumps(now.resolved.document)
    assert "do not fit" in now.lastgood.trouble


def test_an_assigned_uid_is_used_again_in_its_folder_and_nowhere_else(tmp_path: Path) -> None:
    uid = new_uid()
    kept = LastGood.open(tmp_path, "s", __version__)
    kept.save_uid(uid)
    kept.after_fork_in_child()  # gives the folder back
    first, second = standing.first(options(tmp_path)), standing.first(options(tmp_path))
    assert first.uid == uid
    assert second.uid != uid


def test_a_damaged_uid_is_replaced(tmp_path: Path) -> None:
    kept = LastGood.open(tmp_path, "s", __version__)
    for text in ("", "x", "00000000-0000-0000-0000-000000000000", "\udcff"):
        (tmp_path / "s/0/instance_uid").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert kept.assigned_uid() is None


def test_a_forked_child_stands_as_its_parent_under_a_name_of_its_own(tmp_path: Path) -> None:
    keep(tmp_path)
    parent = standing.first(options(tmp_path))
    child = standing.forked(parent)
    assert child.uid != parent.uid
    assert child.resource.attributes["service.instance.id"] == uid_text(child.uid)
    assert child.resource.attributes["process.pid"] == os.getpid()
    assert (child.remote, child.resolved) == (parent.remote, parent.resolved)
    assert child.config_hash == parent.config_hash


def test_a_child_claims_a_folder_only_when_it_saves(tmp_path: Path) -> None:
    parent = LastGood.open(tmp_path, "s", __version__)
    # A fork copies the parent's file handles; here there is one process, so a copy is made.
    parent._folder._lock = os.dup(parent._folder._lock)  # type: ignore[union-attr]  # it has one
    child = parent.after_fork_in_child()
    assert sorted(os.listdir(tmp_path / "s")) == ["0"]
    child.save(REMOTE)
    assert (tmp_path / "s/1/remote.json").exists()
    assert not (tmp_path / "s/0/remote.json").exists()
