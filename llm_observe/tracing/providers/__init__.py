"""Client libraries that we instrument, each as pure functions and a list of targets."""

from __future__ import annotations

from llm_observe.tracing.providers.base import Provider
from llm_observe.tracing.providers.replicate import Replicate

PROVIDERS: tuple[Provider, ...] = (Replicate(),)
"""All of them."""
