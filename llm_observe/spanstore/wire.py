"""From the bytes of an OTLP/HTTP request to the messages of opentelemetry-proto, and back.

OTLP/JSON is protobuf's JSON with two differences (OTLP specification, "JSON Protobuf
Encoding"): ids are hex, not base64, and unknown keys are ignored. Depth is bounded by
protobuf's own limit of 100 nested messages.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from llm_observe.spanstore.model import MalformedTelemetry

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

_M = TypeVar("_M", bound=Message)
_POINT_KINDS = ("gauge", "sum", "histogram", "exponentialHistogram", "summary")
_JSON_FAULTS = (json_format.ParseError, ValueError, TypeError, AttributeError, KeyError)


def media_type(content_type: str) -> str:
    """The media type alone, in lower case: parameters such as ``charset`` are cut off."""
    return content_type.partition(";")[0].strip().lower()


def parse_traces(body: bytes, content_type: str) -> ExportTraceServiceRequest:
    """A trace export request.

    Raises:
        MalformedTelemetry: Not OTLP, or a media type that OTLP does not have.
    """
    return _parse(body, content_type, ExportTraceServiceRequest, _fix_spans)


def parse_metrics(body: bytes, content_type: str) -> ExportMetricsServiceRequest:
    """A metrics export request; exemplars are left out where it came as JSON.

    Raises:
        MalformedTelemetry: Not OTLP, or a media type that OTLP does not have.
    """
    return _parse(body, content_type, ExportMetricsServiceRequest, _drop_exemplars)


def encode(message: Message, content_type: str) -> bytes:
    """A response message in the encoding of the request."""
    if media_type(content_type) == JSON:
        return json_format.MessageToJson(message, indent=None).encode()
    return message.SerializeToString()


def plain(value: AnyValue) -> Any:
    """An attribute value as plain Python: str, bool, int, float, bytes, list, dict or None."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    if kind == "kvlist_value":
        return attributes(value.kvlist_value.values)
    return getattr(value, kind) if kind else None


def attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    """A list of KeyValue as a dict; of a repeated key the last value stays."""
    return {pair.key: plain(pair.value) for pair in pairs}


def _parse(
    body: bytes, content_type: str, kind: type[_M], fix: Callable[[dict[str, Any]], None]
) -> _M:
    encoding = media_type(content_type)
    if encoding == PROTOBUF:
        return _from_protobuf(body, kind)
    if encoding == JSON:
        return _from_json(body, kind, fix)
    raise MalformedTelemetry(
        f"content type {encoding[:80]!r} is not OTLP, expected {PROTOBUF} or {JSON}"
    )


def _from_protobuf(body: bytes, kind: type[_M]) -> _M:
    try:
        return kind.FromString(body)
    except DecodeError as error:
        raise MalformedTelemetry(f"not a protobuf {kind.__name__}: {error}") from error


def _from_json(body: bytes, kind: type[_M], fix: Callable[[dict[str, Any]], None]) -> _M:
    try:
        document = json.loads(body, parse_constant=_no_constant)
        if not isinstance(document, dict):
            raise MalformedTelemetry("not OTLP/JSON: expected an object")
        fix(document)
        return json_format.ParseDict(document, kind(), ignore_unknown_fields=True)
    except MalformedTelemetry:
        raise
    except RecursionError as error:
        raise MalformedTelemetry("not OTLP/JSON: nested too deeply") from error
    except _JSON_FAULTS as error:
        raise MalformedTelemetry(f"not OTLP/JSON: {str(error)[:300]}") from error


def _no_constant(name: str) -> None:
    raise MalformedTelemetry(f"not JSON: {name} (write it as a string)")


def _walk(parent: Mapping[str, Any], *path: str) -> Iterator[dict[str, Any]]:
    """All objects reached by ``path`` through lists; whatever else stands there is left alone."""
    items = parent.get(path[0])
    for item in items if isinstance(items, list) else ():
        if isinstance(item, dict):
            yield from _walk(item, *path[1:]) if len(path) > 1 else (item,)


def _fix_spans(document: dict[str, Any]) -> None:
    for span in _walk(document, "resourceSpans", "scopeSpans", "spans"):
        _hex_to_base64(span, "traceId", "spanId", "parentSpanId")
        for link in _walk(span, "links"):
            _hex_to_base64(link, "traceId", "spanId")


def _hex_to_base64(item: dict[str, Any], *keys: str) -> None:
    for key in keys:
        if item.get(key):
            item[key] = base64.b64encode(_unhex(item[key], key)).decode()


def _unhex(value: Any, key: str) -> bytes:
    try:
        return binascii.unhexlify(value)
    except (binascii.Error, ValueError, TypeError) as error:
        raise MalformedTelemetry(f"not OTLP/JSON: {key} is not hex") from error


def _drop_exemplars(document: dict[str, Any]) -> None:
    for metric in _walk(document, "resourceMetrics", "scopeMetrics", "metrics"):
        for kind in _POINT_KINDS:
            data = metric.get(kind)
            for point in _walk(data, "dataPoints") if isinstance(data, dict) else ():
                point.pop("exemplars", None)
