"""What an application says when it starts observing: arguments over environment over defaults.

These are facts about the process (who it is, where its control plane is). What can be changed
while it runs is not here but in `llm_observe.settings`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from llm_observe.errors import Problem, SettingsError
from llm_observe.settings.documents import Fragment, diff, nest
from llm_observe.settings.environment import PERMITS, read_environment, read_limits
from llm_observe.settings.layers import Layer, LayerValue, as_document
from llm_observe.settings.model import CaptureLevel, Limits, Settings
from llm_observe.settings.places import lies_in
from llm_observe.statedir import default_root

OPAMP_PATH = "/v1/opamp"
"""Default path of an OpAMP server (OpAMP, "Communication Model")."""

CONTROL_PLANE = "control-plane"
"""Name of the destination that stands for the control plane's own OTLP intake."""

SIGNALS = "LLM_OBSERVE_SIGNALS"
"""``off`` leaves the process's signals alone; only the environment can say so."""

CONNECTION_OFFERS = "LLM_OBSERVE_OPAMP_CONNECTION_OFFERS"
"""``on`` lets the control plane move the OpAMP connection; only the environment can say so."""

_SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
_HTTP = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Everything that `observe` was told, in one value."""

    service_name: str | None = None
    server: str | None = None
    opamp_endpoint: str | None = None
    token: str | None = field(default=None, repr=False)
    state_root: Path = field(default_factory=default_root)
    resource: Mapping[str, Any] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    layers: Mapping[Layer, LayerValue] = field(default_factory=dict)
    problems: tuple[Problem, ...] = ()
    instrument: bool = True
    signals: bool = True
    connection_offers: bool = False
    disabled: bool = False

    @property
    def opamp_url(self) -> str | None:
        """The OpAMP endpoint, given as such or that of the server; None where neither is known."""
        derived = opamp_url(self.server) if self.server else None
        return self.opamp_endpoint or derived


def read_options(
    environ: Mapping[str, str],
    now: float,
    *,
    service_name: str | None = None,
    server: str | None = None,
    opamp_endpoint: str | None = None,
    token: str | None = None,
    settings: Settings | Fragment | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    resource: Mapping[str, Any] | None = None,
    instrument: bool = True,
) -> Options:
    """Join arguments and environment. ``now`` is Unix seconds.

    The fragment in ``settings`` must have been validated.

    Raises:
        SettingsError: ``server`` or ``opamp_endpoint`` is no URL, or ``limits`` holds an unknown
            key or level. A wrong environment variable never raises; it is left out and listed in
            ``problems``.
    """
    fragment, problems = read_environment(environ)
    env_limits, limit_problems = read_limits(environ)
    address, address_problems = _address("server", server, "LLM_OBSERVE_SERVER", environ)
    endpoint, endpoint_problems = _address(
        "opamp_endpoint", opamp_endpoint, "LLM_OBSERVE_OPAMP_ENDPOINT", environ
    )
    signals, signal_problems = _switch(SIGNALS, environ, default=True)
    offers, offer_problems = _switch(CONNECTION_OFFERS, environ, default=False)
    layers = {
        Layer.DEFAULT: LayerValue(
            _default_layer(address, token_given(token, environ), fragment), now
        ),
        Layer.ENVIRONMENT: LayerValue(fragment, now),
        Layer.CODE: LayerValue(code_fragment(settings), now),
    }
    return Options(
        service_name=service_name or environ.get("OTEL_SERVICE_NAME") or None,
        server=address,
        opamp_endpoint=endpoint and _with_path(endpoint),
        token=token or environ.get("LLM_OBSERVE_TOKEN") or None,
        state_root=Path(environ["LLM_OBSERVE_STATE_DIR"])
        if environ.get("LLM_OBSERVE_STATE_DIR")
        else default_root(),
        resource=resource or {},
        limits=_limits(limits, env_limits),
        layers=layers,
        problems=(
            *problems,
            *limit_problems,
            *address_problems,
            *endpoint_problems,
            *signal_problems,
            *offer_problems,
        ),
        instrument=instrument,
        signals=signals,
        connection_offers=offers,
        disabled=environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true",
    )


def code_fragment(settings: Settings | Fragment | None) -> dict[str, Any]:
    """What the program's own code says. Of a `Settings` value the keys that differ from the defaults."""
    if isinstance(settings, Settings):
        changes = diff(as_document(Settings()), as_document(settings))
        return nest({c.path: c.after for c in changes if c.after is not None})
    return dict(settings or {})


def opamp_url(server: str) -> str:
    """``http://host:4320`` to ``ws://host:4320/v1/opamp``; a path that is given is kept."""
    url = urlsplit(server)
    path = url.path if url.path.strip("/") else OPAMP_PATH
    return urlunsplit((_SCHEMES[url.scheme], url.netloc, path, "", ""))


def otlp_url(server: str) -> str:
    """The server's base URL for OTLP over HTTP."""
    url = urlsplit(server)
    return urlunsplit((_HTTP[url.scheme], url.netloc, "", "", ""))


def default_service_name(argv: list[str] | None = None) -> str:
    """The script's name; ``unknown_service`` in an interactive session."""
    script = (argv or sys.argv or [""])[0]
    name = Path(script).stem
    if name == "__main__":
        name = Path(script).parent.name
    return name if name and name not in {"-c", "-m", "-"} else "unknown_service"


def token_given(token: str | None, environ: Mapping[str, str]) -> str | None:
    """Where the OTLP destination reads the token from: a reference, never the token."""
    if environ.get("LLM_OBSERVE_TOKEN") and (
        token is None or token == environ["LLM_OBSERVE_TOKEN"]
    ):
        return "env:LLM_OBSERVE_TOKEN"
    return None


def _address(
    argument: str, given: str | None, variable: str, environ: Mapping[str, str]
) -> tuple[str | None, list[Problem]]:
    """The argument, else the variable. Only the program's own mistake raises."""
    for name, text in ((argument, given), (variable, environ.get(variable))):
        if not text:
            continue
        problem = _address_problem(name, text)
        if problem is None:
            return text.rstrip("/"), []
        if name == argument:
            raise SettingsError([problem])
        return None, [problem]
    return None, []


def _with_path(endpoint: str) -> str:
    """An OpAMP endpoint keeps its scheme, which chooses the transport; only a path may be missing."""
    url = urlsplit(endpoint)
    return endpoint if url.path.strip("/") else urlunsplit(url._replace(path=OPAMP_PATH))


def _switch(
    variable: str, environ: Mapping[str, str], *, default: bool
) -> tuple[bool, list[Problem]]:
    text = environ.get(variable, "").strip().lower()
    if text in {"", "on", "off"}:
        return text == "on" if text else default, []
    return default, [Problem(variable, repr(text[:80]), "on or off")]


def _address_problem(name: str, text: str) -> Problem | None:
    url = urlsplit(text)
    if url.scheme not in _SCHEMES or not url.hostname:
        return Problem(name, repr(text[:80]), "a URL such as http://127.0.0.1:4320")
    if url.username or url.password:
        return Problem(name, "a URL with credentials", "the token in LLM_OBSERVE_TOKEN")
    return None


def _default_layer(
    server: str | None, reference: str | None, environment: Fragment
) -> dict[str, Any]:
    """Spans go to the control plane unless the environment names a destination."""
    if not server or environment.get("destinations"):
        return {}
    destination: dict[str, Any] = {"endpoint": otlp_url(server)}
    if reference:
        destination["headers"] = {"authorization": reference}
    return {"destinations": {CONTROL_PLANE: destination}}


_LIMIT_LISTS = ("destination_hosts", "remote_keys", "references", *PERMITS)
_LIMIT_NUMBERS = {"grant_longest_s": "seconds", "queue_mib": "MiB", "buffer_mib": "MiB"}
_LIMIT_KEYS = ("capture_level", *_LIMIT_LISTS, *_LIMIT_NUMBERS)


def _limits(given: Limits | Mapping[str, Any] | None, environment: Limits) -> Limits:
    """Of two limits the stricter one counts, wherever it was set."""
    code = given if isinstance(given, Limits) else _limits_from(given or {})
    return Limits(
        capture_level=min(
            code.capture_level, environment.capture_level, key=lambda level: level.rank
        ),
        destination_hosts=_stricter(code.destination_hosts, environment.destination_hosts),
        remote_keys=_stricter(code.remote_keys, environment.remote_keys),
        grant_longest_s=min(code.grant_longest_s, environment.grant_longest_s),
        queue_mib=min(code.queue_mib, environment.queue_mib),
        buffer_mib=min(code.buffer_mib, environment.buffer_mib),
        references=_stricter(code.references, environment.references),
        local_sinks=_stricter(code.local_sinks, environment.local_sinks),
        file_folders=_within(code.file_folders, environment.file_folders),
    )


def _limits_from(given: Mapping[str, Any]) -> Limits:
    for name in given:
        if name not in _LIMIT_KEYS:
            raise SettingsError(
                [Problem(f"limits.{name}", "an unknown key", f"one of {', '.join(_LIMIT_KEYS)}")]
            )
    values = dict(given)
    try:
        values["capture_level"] = CaptureLevel(values.get("capture_level", CaptureLevel.FULL))
    except ValueError:
        levels = ", ".join(CaptureLevel)
        raise SettingsError(
            [Problem("limits.capture_level", repr(values["capture_level"]), f"one of {levels}")]
        ) from None
    for name in _LIMIT_NUMBERS:
        if name in values:
            values[name] = _number(name, values[name])
    for name in _LIMIT_LISTS:
        values[name] = None if values.get(name) is None else tuple(values[name])
        good, expected = PERMITS.get(name, (bool, "names"))
        for value in values[name] or ():
            if not good(value):
                raise SettingsError([Problem(f"limits.{name}", repr(value), expected)])
    return Limits(**values)


def _number(name: str, value: Any) -> float:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    if not plain or not value >= 0:
        expected = f"{_LIMIT_NUMBERS[name]}, at least 0"
        problem = Problem(f"limits.{name}", repr(value), expected)
        raise SettingsError([problem])
    return float(value)


def _stricter(
    code: tuple[str, ...] | None, environment: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    if code is None or environment is None:
        return environment if code is None else code
    return tuple(item for item in code if item in environment)


def _within(
    code: tuple[str, ...] | None, environment: tuple[str, ...] | None
) -> tuple[str, ...] | None:
    """Folders that both permit: of two, one of which lies in the other, the inner one."""
    if code is None or environment is None:
        return environment if code is None else code
    inner = [a for a in code if any(a == b or lies_in(a, b) for b in environment)]
    inner += [b for b in environment if any(lies_in(b, a) for a in code)]
    return tuple(inner)
