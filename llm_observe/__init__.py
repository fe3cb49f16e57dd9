"""Remote control for LLM tracing.

::

    import llm_observe

    llm_observe.observe(service_name="my-app")

Names are loaded when they are first used, so that importing this package, or one of its parts
(`llm_observe.opamp`), costs next to nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from llm_observe.version import __version__

if TYPE_CHECKING:
    from openinference.instrumentation import (
        using_attributes,
        using_metadata,
        using_prompt_template,
        using_session,
        using_tags,
        using_user,
    )

    from llm_observe.agent.handle import Handle, flush, observe, shutdown
    from llm_observe.agent.status import Status
    from llm_observe.errors import LLMObserveError, Problem, SettingsError
    from llm_observe.settings.model import CaptureLevel, Limits, Settings
    from llm_observe.tracing.around.context import context
    from llm_observe.tracing.around.feedback import score
    from llm_observe.tracing.around.recording import current_step
    from llm_observe.tracing.around.references import current_reference
    from llm_observe.tracing.around.steps import Step, trace
    from llm_observe.tracing.around.suppress import suppress_tracing

_HOMES = {
    "Handle": "llm_observe.agent.handle",
    "flush": "llm_observe.agent.handle",
    "observe": "llm_observe.agent.handle",
    "shutdown": "llm_observe.agent.handle",
    "Status": "llm_observe.agent.status",
    "LLMObserveError": "llm_observe.errors",
    "Problem": "llm_observe.errors",
    "SettingsError": "llm_observe.errors",
    "CaptureLevel": "llm_observe.settings.model",
    "Limits": "llm_observe.settings.model",
    "Settings": "llm_observe.settings.model",
    "context": "llm_observe.tracing.around.context",
    "current_reference": "llm_observe.tracing.around.references",
    "current_step": "llm_observe.tracing.around.recording",
    "Step": "llm_observe.tracing.around.steps",
    "score": "llm_observe.tracing.around.feedback",
    "suppress_tracing": "llm_observe.tracing.around.suppress",
    "trace": "llm_observe.tracing.around.steps",
    "using_attributes": "openinference.instrumentation",
    "using_metadata": "openinference.instrumentation",
    "using_prompt_template": "openinference.instrumentation",
    "using_session": "openinference.instrumentation",
    "using_tags": "openinference.instrumentation",
    "using_user": "openinference.instrumentation",
}

__all__ = [
    "CaptureLevel",
    "Handle",
    "LLMObserveError",
    "Limits",
    "Problem",
    "Settings",
    "SettingsError",
    "Status",
    "Step",
    "__version__",
    "context",
    "current_reference",
    "current_step",
    "flush",
    "observe",
    "score",
    "shutdown",
    "suppress_tracing",
    "trace",
    "using_attributes",
    "using_metadata",
    "using_prompt_template",
    "using_session",
    "using_tags",
    "using_user",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'llm_observe' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
