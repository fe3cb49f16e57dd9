"""What redaction found in a running program is counted at the control plane, and shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from llm_observe import explore
from tests.e2e.harness import App, ControlPlane, eventually

pytestmark = pytest.mark.e2e


def test_finds_stand_on_the_span_on_its_page_in_a_data_frame_and_in_health(
    tmp_path: Path, start_app: Callable[..., App]
) -> None:
    plane = ControlPlane(tmp_path / "data").start()
    try:
        app = start_app(service_name="counted", server=plane.url)
        plane.agent("counted")
        version = plane.set("counted", **{"capture.level": "redacted"})["version"]
        plane.progress(version, "acknowledged")
        app.ask("call", "to joe@example.com and ann@example.com")
        app.ask("flush")
        trace = eventually(lambda: plane.traces(service="counted"), "the call arrives")[0]
        page = plane.http.get(f"/traces/{trace['trace_id']}", headers={"accept": "text/html"}).text
        assert ">email 2</span>" in page
        with explore.open(plane.url) as traces:
            frame = traces.calls(("finds", "finds_total"))
        assert frame["finds"].iloc[0] == {"email": 2}
        assert frame["finds_total"].sum() == 2

        def summed() -> bool:
            components = plane.agent("counted")["health"]["components"]
            return bool(components["recording"]["attributes"].get("redacted.email") == 2)

        eventually(summed, "the health says how much was found")
        assert "joe@example" not in page
    finally:
        plane.stop()
