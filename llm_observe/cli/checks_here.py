"""Checks of this machine: Python, packages, environment variables, the state folder."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from llm_observe.agent.options import Options
from llm_observe.cli.finding import Finding, broken, ok, remark, warning
from llm_observe.cli.run_plan import VARIABLE
from llm_observe.settings.environment import ROWS
from llm_observe.tracing.wrapping.instrument import InstrumentorInfo, install, installed, uninstall

OLDEST, NEWEST = (3, 11), (3, 13)

PACKAGES = (
    "llm-observe", "opentelemetry-sdk", "opentelemetry-exporter-otlp", "protobuf", "pydantic",
    "websockets",
)  # fmt: skip

OWN_VARIABLES = {
    "LLM_OBSERVE_SERVER": "Address of the control plane, for apps, the command line and notebooks.",
    "LLM_OBSERVE_OPAMP_ENDPOINT": "OpAMP endpoint, where it is not the control plane's: ws:// or wss:// for WebSocket, http:// or https:// for polling.",
    "LLM_OBSERVE_TOKEN": "Ingest token of an app, if the control plane wants one.",
    "LLM_OBSERVE_ADMIN_TOKEN": "Admin token of the command line and of notebooks.",
    "LLM_OBSERVE_STATE_DIR": "Where an app keeps its last good settings across restarts.",
    "LLM_OBSERVE_OPAMP_CONNECTION_OFFERS": "on: the control plane may lead the agent to another OpAMP connection (address, headers, TLS, proxy), at its own host or at hosts within the limits. Off by default.",
    "LLM_OBSERVE_SIGNALS": "off: the process's signals are left alone, and SIGTERM may lose the last half second of spans.",
    "LLM_OBSERVE_LIMIT_CAPTURE_LEVEL": "Limit: the highest capture level that anybody may set.",
    "LLM_OBSERVE_LIMIT_GRANT_LONGEST_S": "Limit: seconds that a timed capture grant may run; 0: none may.",
    "LLM_OBSERVE_LIMIT_QUEUE_MIB": "Limit: MiB that settings may let one destination queue; 256 at most.",
    "LLM_OBSERVE_LIMIT_BUFFER_MIB": "Limit: MiB of spans that keep rules may hold back in one process; 256 at most.",
    "LLM_OBSERVE_LIMIT_REFERENCES": "Limit: secrets that the control plane may name, separated by commas, such as env:OTEL_*,file:/run/secrets/*; not set: any.",
    "LLM_OBSERVE_LIMIT_LOCAL_SINKS": "Limit: protocols of destinations on this machine, file and console, separated by commas; not set: neither.",
    "LLM_OBSERVE_LIMIT_FILE_FOLDERS": "Limit: folders that files of destinations may lie in, absolute, separated by commas; not set: none.",
    "LLM_OBSERVE_LIMIT_DESTINATION_HOSTS": "Limit: hosts that telemetry may be sent to, separated by commas; *.example.com covers subdomains.",
    "LLM_OBSERVE_LIMIT_REMOTE_KEYS": "Limit: keys that the control plane may set, by prefix, separated by commas.",
    "OTEL_SERVICE_NAME": "Name of the service, where the code does not give one.",
    "OTEL_RESOURCE_ATTRIBUTES": "Further attributes of the resource, key=value,…",
    "OTEL_METRIC_EXPORT_INTERVAL": "Milliseconds between two exports of metrics.",
    "OTEL_SDK_DISABLED": "true: nothing is observed.",
    "OTEL_TRACES_SAMPLER_ARG": "The ratio for OTEL_TRACES_SAMPLER.",
}
"""Variables that are read but set no key of the settings document, each with its sentence."""


def python(info: tuple[int, int] = sys.version_info[:2]) -> Iterator[Finding]:
    """Whether this Python is one that is tested."""
    text = ".".join(map(str, info))
    if info < OLDEST:
        yield broken("python", f"Python {text} is too old; 3.11 or newer is needed.")
    elif info > NEWEST:
        yield warning(
            "python", f"Python {text} is newer than those that are tested (3.11 to 3.13)."
        )
    else:
        yield ok("python", f"Python {text} at {sys.executable}.")


def packages() -> Iterator[Finding]:
    """The versions of what the core is made of."""
    found = {name: installed_version(name) for name in PACKAGES}
    missing = [name for name, number in found.items() if not number]
    if missing:
        yield broken("packages", f"Not installed: {', '.join(missing)}. pip install llm-observe")
    else:
        yield ok("packages", ", ".join(f"{name} {number}" for name, number in found.items()) + ".")


def installed_version(name: str) -> str:
    """The version of a distribution, or nothing."""
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def libraries(instrumentors: tuple[InstrumentorInfo, ...]) -> Iterator[Finding]:
    """Which client libraries are here, and whether their calls can be traced."""
    present = [info for info in instrumentors if info.state != "absent"]
    if not present:
        names = ", ".join(info.library for info in instrumentors)
        yield remark("libraries", f"No client library that can be traced is here ({names}).")
    for info in present:
        label = f"{info.library} {info.version}".strip()
        if info.state in {"waiting", "active"}:
            yield ok("libraries", f"{label} can be traced.")
        else:
            yield warning("libraries", f"{label} cannot be traced: {info.reason}.")


def instrumentors() -> tuple[InstrumentorInfo, ...]:
    """What instrumenting would find here; nothing is imported for it, and it is taken back."""
    install()
    try:
        return installed()
    finally:
        uninstall()


def variables(options: Options, environ: Mapping[str, str]) -> Iterator[Finding]:
    """Which environment variables are read, and which of them are wrong."""
    wrong = {problem.path for problem in options.problems}
    for problem in options.problems:
        yield broken("environment", f"{problem}. It is ignored.")
    names = [name for name in known_variables() if environ.get(name) and name not in wrong]
    if names:
        yield ok("environment", f"Read from the environment: {', '.join(names)}.")
    elif not wrong:
        yield remark("environment", "No environment variable of ours is set.")
    unknown = sorted(n for n in environ if n.startswith("LLM_OBSERVE_") and n not in KNOWN)
    for name in unknown:
        yield warning("environment", f"{name} is not a variable that anything reads.")
    if options.disabled:
        yield warning("environment", "OTEL_SDK_DISABLED is true: nothing is observed.")


def known_variables() -> list[str]:
    """Every variable that is read, each once."""
    return [*dict.fromkeys((*OWN_VARIABLES, *(row.variable for row in ROWS)))]


KNOWN = frozenset((*known_variables(), VARIABLE, "LLM_OBSERVE_VENV", "LLM_OBSERVE_FULL"))


def state_folder(root: Path) -> Iterator[Finding]:
    """Whether state survives a restart."""
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.NamedTemporaryFile(dir=root):
            pass
    except OSError as error:
        yield warning(
            "state",
            f"{root} cannot be written ({error.strerror or error}): the last good settings do not "
            "survive a restart. Set LLM_OBSERVE_STATE_DIR.",
        )
    else:
        exposed = os.name == "posix" and root.stat().st_mode & 0o022
        yield (
            warning("state", f"{root} can be written by others: chmod 700 {root}")
            if exposed
            else ok("state", f"State is kept in {root}.")
        )
