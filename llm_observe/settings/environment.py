"""The environment layer: which variable sets which key, as a table.

Pure: the environment is passed in. A value that cannot be read never stops the program; it is
left out, and reported as a `Problem` whose path is the variable's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from llm_observe.errors import Problem
from llm_observe.settings.documents import with_value
from llm_observe.settings.model import CaptureLevel, Limits
from llm_observe.settings.places import LOCAL, lies_in

Environ = Mapping[str, str]

DESTINATION = "default"
"""Name of the destination that the ``OTEL_EXPORTER_OTLP_*`` variables describe."""

METRICS_DESTINATION = "default-metrics"
"""Name of a second one, where the variables send metrics elsewhere or in another way than spans."""


@dataclass(frozen=True, slots=True)
class Row:
    """One variable: the key it sets, how its text is read, and a sentence for the docs.

    ``read`` gets the text and the whole environment; it raises ValueError with what was expected.
    """

    variable: str
    path: str
    read: Callable[[str, Environ], Any]
    sentence: str


def _ratio(text: str, _: Environ) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = -1.0
    if not 0 <= ratio <= 1:
        raise ValueError("a number from 0 to 1")
    return ratio


def _level(text: str, _: Environ) -> str:
    return _choice(text, *map(str, CaptureLevel))


def _choice(text: str, *allowed: str) -> str:
    value = text.strip().lower()
    if value not in allowed:
        raise ValueError(f"one of {', '.join(allowed)}")
    return value


_SAMPLERS: dict[str, Callable[[Environ], float]] = {
    "always_on": lambda _: 1.0,
    "always_off": lambda _: 0.0,
    "traceidratio": lambda env: _ratio(env.get("OTEL_TRACES_SAMPLER_ARG", "1"), env),
}
_SAMPLERS |= {f"parentbased_{name}": ratio for name, ratio in _SAMPLERS.items()}


def _sampler(text: str, environ: Environ) -> float:
    name = _choice(text, *_SAMPLERS)
    try:
        return _SAMPLERS[name](environ)
    except ValueError as error:
        raise ValueError(f"OTEL_TRACES_SAMPLER_ARG to be {error}") from None


def _seconds(text: str, _: Environ) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 120:
        raise ValueError("seconds above 0, at most 120")
    return seconds


def _endpoint(signal: str = "") -> Callable[[str, Environ], str]:
    """Reads the endpoint of a signal (``TRACES``), or of all.

    A signal's own URL is used as it is, so over HTTP it must name the signal's path. gRPC has no
    path, and may be given without a scheme, as ``host:port``
    (OTLP exporter, "Endpoint (OTLP/gRPC)", "Insecure").
    """

    def read(text: str, environ: Environ) -> str:
        if _is_grpc(signal, environ):
            return _grpc_url(text, environ, signal)
        url = _url(text)
        if signal and not url.endswith(f"/v1/{signal.lower()}"):
            raise ValueError(f"a URL that ends in /v1/{signal.lower()}")
        return url

    return read


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")) or "@" in text:
        raise ValueError("an http:// or https:// URL without credentials")
    return text.rstrip("/")


def _grpc_url(text: str, environ: Environ, signal: str) -> str:
    insecure = _of_signal("INSECURE", signal, environ).lower() == "true"
    scheme = "" if "://" in text else "http://" if insecure else "https://"
    url = _url(f"{scheme}{text}")
    if "/" in url.partition("://")[2]:
        raise ValueError("a URL without a path, because the protocol is grpc")
    return url


def _is_grpc(signal: str, environ: Environ) -> bool:
    return _of_signal("PROTOCOL", signal, environ).lower() == "grpc"


def _of_signal(name: str, signal: str, environ: Environ) -> str:
    own = environ.get(f"{_EXPORTER}{signal}_{name}", "") if signal else ""
    return (own.strip() or environ.get(f"{_EXPORTER}{name}", "")).strip()


def _protocol(text: str, _: Environ) -> str:
    return _choice(text, "http/protobuf", "grpc")


def _compression(text: str, _: Environ) -> str:
    return _choice(text, "none", "gzip")


def _generation(text: str, _: Environ) -> str:
    return _choice(text, "1.36", "1.41")


def _header_references(variable: str) -> Callable[[str, Environ], dict[str, str]]:
    def read(text: str, _: Environ) -> dict[str, str]:
        names = [
            unquote(pair.partition("=")[0]).strip().lower()
            for pair in text.split(",")
            if pair.strip()
        ]
        if not names or not all(names) or "=" not in text:
            raise ValueError("name=value pairs, separated by commas")
        return {name: f"env:{variable}#{name}" for name in names}

    return read


def _hides(level: CaptureLevel) -> Callable[[str, Environ], str | None]:
    def read(text: str, _: Environ) -> str | None:
        return str(level) if _choice(text, "true", "false") == "true" else None

    return read


_HIDE_CONTENT = (
    "INPUTS", "OUTPUTS", "INPUT_MESSAGES", "OUTPUT_MESSAGES", "INPUT_TEXT", "OUTPUT_TEXT", "PROMPTS", "CHOICES",
    "LLM_TOOLS", "RETRIEVAL_DOCUMENTS",
)  # fmt: skip
_OTLP = f"destinations.{DESTINATION}"
_METRICS = f"destinations.{METRICS_DESTINATION}"
_EXPORTER = "OTEL_EXPORTER_OTLP_"

ROWS: tuple[Row, ...] = (
    Row("OTEL_TRACES_SAMPLER", "sampling.ratio", _sampler, "Sampler by name; with OTEL_TRACES_SAMPLER_ARG for the ratio."),
    Row("LLM_OBSERVE_SAMPLING_RATIO", "sampling.ratio", _ratio, "Share of traces that are exported."),
    Row("LLM_OBSERVE_CAPTURE_LEVEL", "capture.level", _level, "off, metadata, redacted or full."),
    *(Row(f"OPENINFERENCE_HIDE_{name}", "capture.level", _hides(CaptureLevel.METADATA), "true: no content.") for name in _HIDE_CONTENT),
    Row("OPENINFERENCE_HIDE_LLM_INVOCATION_PARAMETERS", "capture.level", _hides(CaptureLevel.OFF), "true: no parameters either."),
    Row("LLM_OBSERVE_GENAI_CONVENTIONS", "conventions.genai", _generation, "1.36 or 1.41: release of the GenAI conventions that calls are exported under."),
    Row(f"{_EXPORTER}ENDPOINT", f"{_OTLP}.endpoint", _endpoint(), "Base URL of the default destination. For gRPC host:port will do; without a scheme it is TLS, unless OTEL_EXPORTER_OTLP_INSECURE is true."),
    Row(f"{_EXPORTER}TRACES_ENDPOINT", f"{_OTLP}.endpoint", _endpoint("TRACES"), "The same for spans; over HTTP the full URL."),
    Row(f"{_EXPORTER}PROTOCOL", f"{_OTLP}.protocol", _protocol, "OTLP transport: http/protobuf or grpc."),
    Row(f"{_EXPORTER}TRACES_PROTOCOL", f"{_OTLP}.protocol", _protocol, "The same, for spans."),
    Row(f"{_EXPORTER}HEADERS", f"{_OTLP}.headers", _header_references(f"{_EXPORTER}HEADERS"), "Headers, name=value,…"),
    Row(f"{_EXPORTER}TRACES_HEADERS", f"{_OTLP}.headers", _header_references(f"{_EXPORTER}TRACES_HEADERS"), "The same, for spans."),
    Row(f"{_EXPORTER}COMPRESSION", f"{_OTLP}.compression", _compression, "none or gzip."),
    Row(f"{_EXPORTER}TRACES_COMPRESSION", f"{_OTLP}.compression", _compression, "The same, for spans."),
    Row(f"{_EXPORTER}TIMEOUT", f"{_OTLP}.timeout_s", _seconds, "Seconds that one request may take."),
    Row(f"{_EXPORTER}TRACES_TIMEOUT", f"{_OTLP}.timeout_s", _seconds, "The same, for spans."),
    Row(f"{_EXPORTER}METRICS_ENDPOINT", f"{_METRICS}.endpoint", _endpoint("METRICS"), "A destination of its own for metrics; what is not set for it is as for the default one."),
    Row(f"{_EXPORTER}METRICS_PROTOCOL", f"{_METRICS}.protocol", _protocol, "The same, its transport."),
    Row(f"{_EXPORTER}METRICS_HEADERS", f"{_METRICS}.headers", _header_references(f"{_EXPORTER}METRICS_HEADERS"), "The same, its headers."),
    Row(f"{_EXPORTER}METRICS_COMPRESSION", f"{_METRICS}.compression", _compression, "The same, its compression."),
    Row(f"{_EXPORTER}METRICS_TIMEOUT", f"{_METRICS}.timeout_s", _seconds, "The same, its time limit."),
)  # fmt: skip
"""In order of precedence: a later row wins over an earlier one with the same key."""

_GENERAL = tuple(
    row.variable
    for row in ROWS
    if row.path.startswith(f"{_OTLP}.") and "TRACES" not in row.variable
)


def read_environment(environ: Environ) -> tuple[dict[str, Any], list[Problem]]:
    """The environment layer's fragment, and what could not be read.

    Of several variables that hide content the strictest counts, whatever their order.
    """
    fragment: dict[str, Any] = {}
    problems: list[Problem] = []
    strictest: list[CaptureLevel] = []
    for row in ROWS:
        text = environ.get(row.variable, "").strip()
        if not text:
            continue
        try:
            value = row.read(text, environ)
        except ValueError as error:
            problems.append(Problem(row.variable, repr(_shown(row, text)), str(error)))
            continue
        if value is None:
            continue
        if row.variable.startswith("OPENINFERENCE_HIDE_"):
            strictest.append(CaptureLevel(value))
        else:
            fragment = with_value(fragment, row.path, value)
    return _apart(_hidden(fragment, strictest), environ), problems


def _apart(fragment: dict[str, Any], environ: Environ) -> dict[str, Any]:
    """Where metrics are sent elsewhere, or in another way: two destinations, one signal each."""
    found = dict(fragment.get("destinations", {}))
    own, spans = found.pop(METRICS_DESTINATION, None), found.get(DESTINATION, {})
    if own is None:
        return fragment
    metrics = {**_shared(environ), **own}
    if metrics != spans and metrics.get("endpoint"):
        found[METRICS_DESTINATION] = metrics | {"signals": ["metrics"]}
        if spans.get("endpoint"):
            found[DESTINATION] = spans | {"signals": ["traces"]}
    return {**fragment, "destinations": found}


def _shared(environ: Environ) -> dict[str, Any]:
    """What the variables say that name no signal."""
    names = (*_GENERAL, f"{_EXPORTER}INSECURE")
    fragment, _ = read_environment({name: environ.get(name, "") for name in names})
    shared: dict[str, Any] = fragment.get("destinations", {}).get(DESTINATION, {})
    return shared


def read_limits(environ: Environ) -> tuple[Limits, list[Problem]]:
    """``LLM_OBSERVE_LIMIT_CAPTURE_LEVEL``, ``…_DESTINATION_HOSTS``, ``…_REMOTE_KEYS``, ``…_GRANT_LONGEST_S``,
    ``…_QUEUE_MIB``, ``…_LOCAL_SINKS``, ``…_FILE_FOLDERS``.

    An unreadable capture limit counts as ``off``, an unreadable number as 0: a limit that cannot be understood must
    not be wider than what was meant.
    """
    problems: list[Problem] = []
    level, text = CaptureLevel.FULL, environ.get("LLM_OBSERVE_LIMIT_CAPTURE_LEVEL", "").strip()
    if text:
        try:
            level = CaptureLevel(_level(text, environ))
        except ValueError as error:
            problems.append(Problem("LLM_OBSERVE_LIMIT_CAPTURE_LEVEL", repr(text), str(error)))
            level = CaptureLevel.OFF
    longest, longest_problems = _most(
        environ, "GRANT_LONGEST_S", Limits().grant_longest_s, "seconds"
    )
    queue, queue_problems = _most(environ, "QUEUE_MIB", Limits().queue_mib, "MiB")
    held, held_problems = _most(environ, "BUFFER_MIB", Limits().buffer_mib, "MiB")
    sinks, sinks_problems = _permitted(environ, "local_sinks")
    folders, folders_problems = _permitted(environ, "file_folders")
    return Limits(
        capture_level=level,
        grant_longest_s=longest,
        queue_mib=queue,
        buffer_mib=held,
        destination_hosts=_listed(environ.get("LLM_OBSERVE_LIMIT_DESTINATION_HOSTS")),
        remote_keys=_listed(environ.get("LLM_OBSERVE_LIMIT_REMOTE_KEYS")),
        references=_listed(environ.get("LLM_OBSERVE_LIMIT_REFERENCES")),
        local_sinks=sinks,
        file_folders=folders,
    ), [
        *problems,
        *longest_problems,
        *queue_problems,
        *held_problems,
        *sinks_problems,
        *folders_problems,
    ]


def _most(environ: Environ, limit: str, unset: float, unit: str) -> tuple[float, list[Problem]]:
    """A limit that is a number; never wider than it is unset."""
    name = f"LLM_OBSERVE_LIMIT_{limit}"
    text = environ.get(name, "").strip()
    try:
        number = float(text or unset)
    except ValueError:
        number = -1.0
    if number >= 0:
        return min(number, unset), []
    return 0.0, [Problem(name, repr(text[:80]), f"{unit}, at least 0")]


def is_local_sink(value: str) -> bool:
    """Whether it is a protocol that a local limit may permit."""
    return value in LOCAL


def is_folder(value: str) -> bool:
    """Whether it is an absolute path, by its letters."""
    return lies_in(f"{value}/file", "/")


PERMITS: Mapping[str, tuple[Callable[[str], bool], str]] = {
    "local_sinks": (is_local_sink, "file or console"),
    "file_folders": (is_folder, "absolute paths of folders"),
}
"""Limits that permit what is forbidden otherwise: what a value must be, and how that is called."""


def _permitted(environ: Environ, limit: str) -> tuple[tuple[str, ...] | None, list[Problem]]:
    """What is no such thing permits nothing."""
    name, (good, expected) = f"LLM_OBSERVE_LIMIT_{limit.upper()}", PERMITS[limit]
    found = _listed(environ.get(name))
    wrong = [Problem(name, repr(item[:80]), expected) for item in found or () if not good(item)]
    return found and tuple(filter(good, found)), wrong


def _listed(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(part.strip() for part in text.split(",") if part.strip())


def _hidden(fragment: dict[str, Any], levels: list[CaptureLevel]) -> dict[str, Any]:
    if not levels:
        return fragment
    asked = fragment.get("capture", {}).get("level", CaptureLevel.METADATA)
    lowest = min([*levels, CaptureLevel(asked)], key=lambda level: level.rank)
    return with_value(fragment, "capture.level", str(lowest))


def _shown(row: Row, text: str) -> str:
    return "***" if "HEADERS" in row.variable or "@" in text else text[:80]
