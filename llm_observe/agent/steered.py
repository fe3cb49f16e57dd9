"""What the agent wants of a pipeline, be it on our own tracer provider or on another one."""

from __future__ import annotations

from typing import Protocol

from opentelemetry.sdk.resources import Resource

from llm_observe.settings.model import Settings
from llm_observe.tracing.applying import Applied, Grants
from llm_observe.tracing.export.status import PipelineStatus


class Steered(Protocol):
    """What the agent wants of a pipeline."""

    config_hash: str

    def apply(
        self,
        settings: Settings,
        config_hash: str,
        *,
        grants: Grants = (),
        timeout_s: float = 10.0,
    ) -> Applied:
        """Put settings in force, as `Pipeline.apply`."""

    def begin_again(
        self, resource: Resource, settings: Settings, config_hash: str, *, grants: Grants = ()
    ) -> None:
        """Put settings in force that are not asked about, as `Pipeline.begin_again`."""

    def rename(self, resource: Resource) -> None:
        """Describe this process anew."""

    def send_metrics(self, destination: str, payload: bytes) -> None:
        """Queue an encoded metric export for one destination, if it is there and takes metrics."""

    def status(self) -> PipelineStatus:
        """The present counts."""
