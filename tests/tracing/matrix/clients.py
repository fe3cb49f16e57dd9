"""The surfaces of the client that is installed."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
from types import ModuleType

INSTALLED = importlib.metadata.version("replicate")
WANTED = os.environ.get("LLM_OBSERVE_MATRIX_CLIENT", "")
"""The version that a child process is to test."""


def surfaces() -> ModuleType:
    """The table for its major version."""
    major = INSTALLED.partition(".")[0]
    return importlib.import_module(f"tests.tracing.matrix.client{major}")
