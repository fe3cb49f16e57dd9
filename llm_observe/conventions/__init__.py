"""One table: our field ↔ attribute key in OpenInference and in OTel GenAI ↔ kind of content.

Three readers: `llm_observe.tracing.rendering.render` writes both conventions from it and scrubs the spans
of other instrumentors by it, and the span store promotes its columns by it. Plain data.

GenAI names are those of semantic conventions 1.41, which most back ends read today; where release
1.36 called a thing otherwise, the row says so. A ``*`` in a pattern stands for an index; a ``**``
at its end for everything below.

Two generations are offered, because two are read. 1.36 is the last release with ``gen_ai.system``
and one event per message; 1.37 replaced both, and 1.41 is the last release before the conventions
moved to a repository of their own. What changed there, up to its first release (other metric names,
token counters), is not offered: neither a back end nor an instrumentation was found that reads or
writes it as a whole, and names were still moving.
"""

from __future__ import annotations

from llm_observe.conventions.fields import (
    CAPTURE_LEVEL,
    CHOICE_EVENT,
    CONFIG_HASH,
    CONTENT_DROPPED,
    CONTEXT_ATTRIBUTES,
    CONTEXT_FIELDS,
    FIELDS,
    FINDS,
    KEPT,
    MESSAGE_EVENTS,
    OPERATION,
    PARAMETERS,
    SPAN_KIND,
    Field,
    keys_for,
    renamed,
    schema_url,
)
from llm_observe.conventions.kinds import (
    NEWEST,
    GenAI,
    Kind,
)
from llm_observe.conventions.known import (
    FEEDBACK,
    KINDS,
    LLM_MARKS,
    SKELETON_NAMES,
    SKELETONS,
    VERDICTS,
    is_llm,
    kind_of,
)
from llm_observe.conventions.metrics import (
    METRIC_FIELDS,
    METRICS,
    SECONDS,
    TOKENS,
    Metric,
    metric_keys_for,
)
from llm_observe.conventions.promoted import (
    PROMOTED,
)

__all__ = [
    "CAPTURE_LEVEL",
    "CHOICE_EVENT",
    "CONFIG_HASH",
    "CONTENT_DROPPED",
    "CONTEXT_ATTRIBUTES",
    "CONTEXT_FIELDS",
    "FEEDBACK",
    "FIELDS",
    "FINDS",
    "KEPT",
    "KINDS",
    "LLM_MARKS",
    "MESSAGE_EVENTS",
    "METRICS",
    "METRIC_FIELDS",
    "NEWEST",
    "OPERATION",
    "PARAMETERS",
    "PROMOTED",
    "SECONDS",
    "SKELETONS",
    "SKELETON_NAMES",
    "SPAN_KIND",
    "TOKENS",
    "VERDICTS",
    "Field",
    "GenAI",
    "Kind",
    "Metric",
    "is_llm",
    "keys_for",
    "kind_of",
    "metric_keys_for",
    "renamed",
    "schema_url",
]
