"""What may be said about a step while it runs: input, output, and what its kind knows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

from opentelemetry.context import get_value

from llm_observe.tracing.around import kinds
from llm_observe.tracing.around.references import reference
from llm_observe.tracing.around.stepping import Handle
from llm_observe.tracing.wrapping.active import STEP_KEY


class Recording:
    """A step to write to. No method raises; all do nothing where nothing records."""

    def _handle(self) -> Handle | None:
        return None

    @property
    def reference(self) -> str:
        """What names the step's span for `llm_observe.score`: a text to keep and to pass on.

        It is the same after the step ended. Empty before it began, and where nothing records.
        """
        handle = self._handle()
        return reference(handle.span.get_span_context()) if handle else ""

    @property
    def calls(self) -> tuple[str, ...]:
        """References of the model calls that began inside, oldest first, at most the newest 1,000.

        Of clients that are observed; for `llm_observe.score` on a call itself.
        """
        handle = self._handle()
        return tuple(reference(span) for span in tuple(handle.calls)) if handle else ()

    @property
    def input(self) -> Any:
        """What the step was given. Set it; it is not kept here."""
        return None

    @input.setter
    def input(self, value: Any) -> None:
        self._write(lambda step: kinds.value("input", value) if step.content else {})

    @property
    def output(self) -> Any:
        """What the step made. Set it; it is not kept here."""
        return None

    @output.setter
    def output(self, value: Any) -> None:
        self._write(lambda step: kinds.value("output", value) if step.content else {})

    def set(self, key: str, value: Any) -> None:
        """One more attribute. Keys of no known convention leave at level ``full`` only."""
        self._write(lambda step: {str(key): kinds.attribute(value)})

    def set_tool(
        self, name: str = "", parameters: Any = None, *, description: str = "", call_id: str = ""
    ) -> None:
        """Which tool this is, what it was given, and the id of the model's call for it."""
        self._write(
            lambda step: (
                kinds.tool(name, parameters, description, call_id)
                if step.content
                else kinds.tool(name, call_id=call_id)
            )
        )

    def set_agent(self, name: str) -> None:
        """Which agent this is."""
        self._write(lambda step: kinds.agent(name))

    def set_documents(
        self, documents: Iterable[Any], *, side: Literal["input", "output"] = "output"
    ) -> None:
        """What a retriever found, or what a reranker was given (``side="input"``) and kept.

        A document is a text, or a mapping or object with ``content`` (or ``page_content``,
        ``text``), ``id``, ``score`` and ``metadata``. At most 200 are kept.
        """
        self._write(lambda step: kinds.documents(documents, step.kind, side, step.content))

    def set_prompt(
        self, template: str, variables: Mapping[str, Any] | None = None, version: str = ""
    ) -> None:
        """The template of a prompt, and what was put into it."""
        self._write(lambda step: kinds.prompt(template, variables, version, step.content))

    def _write(self, attributes: Callable[[Handle], Mapping[str, Any]]) -> None:
        handle = self._handle()
        if handle is not None:
            handle.write(lambda: attributes(handle))


class CurrentStep(Recording):
    """The innermost step around some code that did not make it."""

    def __init__(self, handle: Handle | None) -> None:
        self._current = handle

    def _handle(self) -> Handle | None:
        return self._current


def current_step() -> CurrentStep:
    """The innermost step around this code, to add to it; inside a decorated function, its own.

    Where there is none, all that is written goes nowhere.
    """
    handle = get_value(STEP_KEY)
    return CurrentStep(handle if isinstance(handle, Handle) else None)
