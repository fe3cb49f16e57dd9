import dataclasses
import subprocess
import sys

import pytest
from openinference.semconv.trace import SpanAttributes

from llm_observe import conventions
from llm_observe.conventions import (
    FIELDS,
    KINDS,
    METRICS,
    PROMOTED,
    Kind,
    is_llm,
    keys_for,
    kind_of,
    metric_keys_for,
    renamed,
)
from llm_observe.tracing.call import Call


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("input.value", Kind.INPUT),
        ("input.mime_type", Kind.CORE),
        ("output.value", Kind.OUTPUT),
        ("llm.input_messages.12.message.role", Kind.METADATA),
        ("llm.input_messages.12.message.content", Kind.INPUT),
        ("llm.input_messages.0.message.contents.3.message_content.text", Kind.INPUT),
        ("llm.input_messages.0.message.contents.3.message_content.image.image.url", Kind.MEDIA),
        ("llm.output_messages.0.message.tool_calls.0.tool_call.function.name", Kind.METADATA),
        (
            "llm.output_messages.0.message.tool_calls.0.tool_call.function.arguments",
            Kind.TOOL_ARGUMENTS,
        ),
        ("llm.prompts.0.prompt.text", Kind.INPUT),
        ("llm.invocation_parameters", Kind.LABEL),
        ("llm.token_count.prompt_details.cache_read", Kind.CORE),
        ("embedding.embeddings.0.embedding.vector", Kind.EMBEDDING),
        ("embedding.embeddings.0.embedding.text", Kind.INPUT),
        ("retrieval.documents.4.document.content", Kind.DOCUMENT),
        ("retrieval.documents.4.document.score", Kind.METADATA),
        ("session.id", Kind.METADATA),
        ("metadata", Kind.LABEL),
        ("gen_ai.input.messages", Kind.INPUT),
        ("gen_ai.usage.reasoning.output_tokens", Kind.CORE),
        ("gen_ai.request.temperature", Kind.LABEL),
        ("gen_ai.request.model", Kind.CORE),
        ("gen_ai.prompt.0.content", Kind.INPUT),  # OpenLLMetry
        ("gen_ai.prompt.0.user", Kind.INPUT),  # its odd key for Replicate
        ("gen_ai.completion.3.content", Kind.OUTPUT),
        ("gen_ai.completion.3.finish_reason", Kind.CORE),
        ("traceloop.entity.input", Kind.INPUT),
        ("traceloop.association.properties.user_id", Kind.LABEL),
        ("langfuse.observation.output", Kind.OUTPUT),
        ("langfuse.trace.metadata.customer", Kind.LABEL),
        ("logfire.msg", Kind.INPUT),
        ("pydantic_ai.all_messages", Kind.INPUT),
        ("exception.message", Kind.ERROR),
        ("exception.stacktrace", Kind.ERROR),
        ("exception.type", Kind.CORE),
        ("llm_observe.config.hash", Kind.CORE),
        ("gen_ai.something.new", None),
        ("http.url", None),
        ("", None),
    ],
)
def test_kinds(key: str, kind: Kind | None) -> None:
    assert kind_of(key) is kind


def test_every_openinference_attribute_has_a_kind() -> None:
    constants = {v for k, v in vars(SpanAttributes).items() if k.isupper()}
    strangers = {v for v in constants if kind_of(v) is None and kind_of(f"{v}.0.x") is None}
    assert strangers <= {
        "llm.token_count.prompt_details",  # beginnings of keys, not keys
        "llm.cost.completion_details",
        "llm.cost.prompt_details",
    }


def test_every_field_is_one_of_a_calls_or_made_from_them() -> None:
    own = {field.name for field in dataclasses.fields(Call)}  # type: ignore[arg-type]  # it is one
    own |= {name for name, value in vars(Call).items() if isinstance(value, property)}
    made = {"model", "input_messages", "input_characters", "output_characters", "output_chunks"}
    made |= {"input_value", "output_value", "system_instructions"}
    assert {field.name for field in FIELDS} <= own | made


def test_no_key_stands_for_two_fields() -> None:
    keys = [key for field in FIELDS for key in field.keys]
    assert len(keys) == len(set(keys))


def test_the_newest_keys_of_a_field_are_all_but_those_of_the_older_generation() -> None:
    for field in FIELDS:
        older = {field.older} if field.older else set()
        assert set(keys_for("1.41")[field.name]) == set(field.keys) - older
        assert keys_for("1.36")[field.name] == field.keys_in("1.36")


def test_the_older_generation_differs_in_what_was_renamed_or_added_since() -> None:
    """Semantic conventions 1.37 (`gen_ai.provider.name`, messages) and 1.41 (streaming)."""
    older, newest = keys_for("1.36"), keys_for("1.41")
    gone = {key for keys in newest.values() for key in keys}
    gone -= {key for keys in older.values() for key in keys}
    assert gone == {
        "gen_ai.provider.name",
        "gen_ai.request.stream",
        "gen_ai.response.time_to_first_chunk",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
    }
    assert older["provider"] == ("llm.provider", "gen_ai.system")
    assert older["time_to_first_chunk_s"] == ("llm_observe.time_to_first_chunk",)


def test_attributes_are_renamed_into_a_generation() -> None:
    attributes = {"gen_ai.provider.name": "replicate", "gen_ai.request.stream": True, "x": 1}
    assert renamed(attributes, "1.41") == attributes
    assert renamed(attributes, "1.36") == {"gen_ai.system": "replicate", "x": 1}


def test_metrics_have_the_names_of_their_generation_or_ours_where_it_has_none() -> None:
    names = {row.field: (row.name_in("1.36"), row.name_in("1.41")) for row in METRICS}
    assert names["duration"] == ("gen_ai.client.operation.duration",) * 2
    assert names["tokens"] == ("gen_ai.client.token.usage",) * 2
    for field in ("first_chunk", "per_chunk"):
        older, newest = names[field]
        assert newest.startswith("gen_ai.client.operation.time_")
        assert older == newest.replace("gen_ai.", "llm_observe.", 1)
    assert dict(metric_keys_for("1.36"))["provider"] == "gen_ai.system"
    assert all(key for _, key in metric_keys_for("1.41"))


def test_what_messages_are_called_in_events_is_scrubbed_by_its_kind() -> None:
    assert kind_of("content") is Kind.INPUT
    assert kind_of("message") is Kind.INPUT
    assert kind_of("role") is Kind.METADATA


def test_promoted_columns_hold_no_content() -> None:
    content = {
        key
        for keys in PROMOTED.values()
        for key in keys
        if kind_of(key) not in (Kind.CORE, Kind.METADATA)
    }
    assert content == set()


def test_a_pattern_ends_or_stands_alone() -> None:
    assert all("**" not in pattern.removesuffix(".**") for pattern in KINDS)


def test_llm_spans_are_known_by_their_keys() -> None:
    assert is_llm(["http.method", "gen_ai.system"])
    assert is_llm(["openinference.span.kind"])
    assert not is_llm(["http.method", "input.value", "llm_observe.config.hash"])


def test_the_table_is_cheap_to_load() -> None:
    """Nothing of OpenTelemetry, pydantic or the like comes with it."""
    code = f"import sys, {conventions.__name__}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {name.partition(".")[0] for name in ran.stdout.split()}
    assert heavy.isdisjoint({"opentelemetry", "pydantic", "wrapt", "google", "yaml"})
