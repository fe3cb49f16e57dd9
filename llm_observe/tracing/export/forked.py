"""Whether this process was forked off one that had gRPC loaded.

gRPC survives a fork only with its own fork support, which is on unless ``GRPC_ENABLE_FORK_SUPPORT``
says otherwise. Without it a call in the child would never end, not even at its time limit.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

_CORE = "grpc._cython.cygrpc"
_OFF = frozenset({"0", "false", "no"})
_inherited = False


def grpc_is_broken(environ: Mapping[str, str]) -> bool:
    """Whether a call over gRPC would hang in this process."""
    return _inherited and environ.get("GRPC_ENABLE_FORK_SUPPORT", "").strip().lower() in _OFF


def _in_child() -> None:
    global _inherited
    _inherited = _inherited or _CORE in sys.modules


os.register_at_fork(after_in_child=_in_child)
