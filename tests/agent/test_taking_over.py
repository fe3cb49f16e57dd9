"""A program that speaks for itself after a command line spoke for it: who it is then, and what holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llm_observe.agent import standing
from llm_observe.agent.lastgood import LastGood, RemoteState
from llm_observe.agent.options import Options, read_options
from llm_observe.uids import uid_text
from llm_observe.version import __version__

REMOTE = RemoteState({"capture": {"level": "full"}, "sampling": {"ratio": 0.5}}, 12.5, b"\x01" * 32)


def options(folder: Path, name: str = "given", **arguments: Any) -> Options:
    environ = {"LLM_OBSERVE_STATE_DIR": str(folder), "LLM_OBSERVE_SERVER": "http://h"}
    return read_options(environ, 1.0, service_name=name, **arguments)


def begun(folder: Path) -> standing.Standing:
    kept = LastGood.open(folder, "given", __version__)
    kept.save(REMOTE)
    kept.after_fork_in_child()  # gives the folder back
    return standing.first(options(folder))


def test_it_is_the_same_instance_under_the_name_it_says(tmp_path: Path) -> None:
    before = begun(tmp_path)
    after = standing.retold(before, options(tmp_path, "own", resource={"team": "blue"}))
    assert after.uid == before.uid
    assert after.lastgood is before.lastgood
    assert after.resource.attributes["service.name"] == "own"
    assert after.resource.attributes["team"] == "blue"
    assert (
        after.resource.attributes["service.instance.id"]
        == before.resource.attributes["service.instance.id"]
    )


def test_the_control_planes_word_holds_on_within_the_programs_limits(tmp_path: Path) -> None:
    after = standing.retold(
        begun(tmp_path), options(tmp_path, settings={"capture": {"level": "off"}})
    )
    assert after.remote == REMOTE
    assert str(after.resolved.settings.capture.level) == "full"


def test_what_is_beyond_its_limits_is_a_refusal_by_name(tmp_path: Path) -> None:
    after = standing.retold(
        begun(tmp_path), options(tmp_path, limits={"capture_level": "metadata"})
    )
    assert str(after.resolved.settings.capture.level) == "metadata"
    assert after.resolved.settings.sampling.ratio == 0.5
    assert after.remote.fragment == {"sampling": {"ratio": 0.5}}
    assert (after.remote.applied, after.remote.received_hash) == (False, REMOTE.received_hash)
    assert (
        after.remote.error == "capture.level: found full, expected at most metadata (local limit)"
    )


def test_keys_that_it_keeps_to_itself_go_back_to_it(tmp_path: Path) -> None:
    limits = {"remote_keys": ["sampling"]}
    own = {"capture": {"level": "off"}}
    after = standing.retold(begun(tmp_path), options(tmp_path, limits=limits, settings=own))
    assert str(after.resolved.settings.capture.level) == "off"
    assert "only these keys to be set remotely: sampling" in after.remote.error


def test_one_that_names_the_first_control_plane_goes_on_where_its_folder_left_off(
    tmp_path: Path,
) -> None:
    begun(tmp_path).lastgood.after_fork_in_child()  # gives the folder back
    alone = read_options({"LLM_OBSERVE_STATE_DIR": str(tmp_path)}, 1.0, service_name="given")
    before = standing.first(alone)
    assert before.remote == RemoteState()
    after = standing.retold(before, options(tmp_path))
    assert after.uid == before.uid
    assert after.resource.attributes["service.instance.id"] == uid_text(before.uid)
    assert after.remote == REMOTE
    assert after.resolved.settings.sampling.ratio == 0.5
    newer = RemoteState({"capture": {"level": "off"}}, 13.0, b"\x02" * 32)
    after.lastgood.save(newer)
    after.lastgood.after_fork_in_child()
    assert standing.first(options(tmp_path)).remote == newer
