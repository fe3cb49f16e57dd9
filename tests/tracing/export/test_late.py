"""Loading modules late must never cost a forked child its imports."""

from __future__ import annotations

import subprocess
import sys

_SCRIPT = """
import os, sys, threading, types
from llm_observe.tracing.export import late

class Slow:
    started, go = threading.Event(), threading.Event()
    def find_spec(self, name, path=None, target=None):
        if name == "slow_module":
            self.started.set()
            self.go.wait(0.3)
        return None

slow = Slow()
sys.meta_path.insert(0, slow)
thread = threading.Thread(target=lambda: late.load("slow_module"), daemon=True)
threading.excepthook = lambda args: None
thread.start()
slow.started.wait(20)
child = os.fork()
if child == 0:
    sys.meta_path.remove(slow)
    try:
        import slow_module
    except ImportError:
        grandchild = threading.Thread(target=lambda: late.load("json"))
        grandchild.start()
        grandchild.join(20)
        os._exit(5 if grandchild.is_alive() else 0)
    os._exit(4)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_fork_during_a_late_import_leaves_the_child_able_to_import() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", _SCRIPT], check=True, timeout=60)
