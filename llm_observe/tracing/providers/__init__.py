"""Client libraries that we instrument, each as pure functions and a list of targets."""

from __future__ import annotations

from llm_observe.tracing.providers.base import Provider
from llm_observe.tracing.providers.replicate import Replicate
from llm_observe.tracing.providers.replicate2 import Replicate2

PROVIDERS: tuple[Provider, ...] = (Replicate(), Replicate2())
"""All of them. Those of one name are for different major versions of one library."""
