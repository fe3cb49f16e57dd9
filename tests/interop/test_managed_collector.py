"""A Collector with its OpAMP extension, as the control plane shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import ControlPlane, eventually
from tests.interop.backends import managed_collector, needs_peers

pytestmark = [pytest.mark.interop, needs_peers]
SECRET = "swordfish-4711"


def _connected(plane: ControlPlane) -> list[Any]:
    return [item for item in plane.get("/agents")["items"] if item["connected"]]


def test_a_collector_is_shown_as_it_is_and_not_managed(plane: ControlPlane, tmp_path: Path) -> None:
    with managed_collector(tmp_path, f"ws://127.0.0.1:{plane.port}/v1/opamp", SECRET):
        (listed,) = eventually(lambda: _connected(plane), "the collector is connected")
        eventually(lambda: _connected(plane)[0]["service"] == "otelcol", "its description")
        assert listed["config"]["state"] == "not managed"
        path = f"/agents/{listed['uid']}"
        eventually(lambda: plane.get(path)["files"], "its effective config")
        eventually(lambda: plane.get(path)["health"]["healthy"], "its health")
        shown = plane.get(path)
        assert "AcceptsRemoteConfig" not in shown["capabilities"]
        assert shown["description"]["non_identifying"]["team"] == "llamas"
        assert "pipeline:traces" in str(shown["health"])
        assert "otlp_http" in str(shown["files"])
        assert SECRET not in str(shown)
        version = plane.set(sampling__ratio=0.5)
        assert [item["uid"] for item in version["skipped"]] == [listed["uid"]]
    eventually(lambda: not _connected(plane), "its goodbye")
    assert SECRET not in (plane.data.parent / "serve.log").read_text()
