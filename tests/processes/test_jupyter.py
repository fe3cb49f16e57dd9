"""A notebook's kernel: cells, an interrupt, a restart and a shutdown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from jupyter_client.blocking.client import BlockingKernelClient
from jupyter_client.manager import KernelManager

from tests.e2e.harness import eventually
from tests.processes.world import World

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

OBSERVE = "import llm_observe; handle = llm_observe.observe(); handle.instance_id"
ASK = "from tests.processes.programs.work import ask; ask(1)"


class Notebook:
    """A kernel, cell by cell."""

    def __init__(self, world: World) -> None:
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(env=world.environ(), cwd=str(world.folder))
        self.client: Any = None
        self.connect()

    def connect(self) -> None:
        client = self.manager.client()
        assert isinstance(client, BlockingKernelClient)
        client.start_channels()
        client.wait_for_ready(timeout=60)
        self.client = client

    def run(self, cell: str) -> str:
        """Run a cell; what it printed or returned."""
        said: list[str] = []

        def hear(message: dict[str, Any]) -> None:
            content = message["content"]
            said.append(content.get("text") or content.get("data", {}).get("text/plain", ""))

        reply = self.client.execute_interactive(cell, output_hook=hear, timeout=60)
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(said)

    def restart(self) -> None:
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self.connect()

    def close(self) -> None:
        self.client.stop_channels()
        if self.manager.has_kernel:
            self.manager.shutdown_kernel(now=False)
        self.manager.cleanup_resources()


@pytest.fixture
def notebook(world: World) -> Iterator[Notebook]:
    made = Notebook(world)
    yield made
    made.close()


def test_cells_run_again_restart_and_shutdown_lose_nothing(
    world: World, notebook: Notebook
) -> None:
    first = notebook.run(OBSERVE)
    notebook.run(ASK)
    assert notebook.run(OBSERVE) == first  # the same cell again: the same observation, no word
    assert notebook.run("ask(1)") == ""
    eventually(lambda: len(world.fleet.present) == 1, "it is an agent")
    notebook.restart()
    second = notebook.run(OBSERVE)
    assert second != first
    notebook.run(ASK)
    digest = world.fleet.offer({"destinations": {"default": {"timeout_s": 9.0}}})
    eventually(lambda: world.fleet.acknowledged(digest) == {second.strip("'")}, "acknowledged")
    notebook.close()
    eventually(lambda: len(world.spans()) == 3, "all is sent")
    spans = world.exact(3)
    assert {repr(span.instance) for span in spans} == {first, second}
