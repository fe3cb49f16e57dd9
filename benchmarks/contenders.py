"""Who is measured, and how each is set up: as its own documentation says, OTLP/HTTP, content on.

Every contender has an environment of its own, made once and kept under
``${XDG_CACHE_HOME:-~/.cache}/llm-observe/bench``. Its baseline is the same traffic in the same
environment without it, because some contenders hold the client library at an older version.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "llm-observe" / "bench"

_SDK = """
from opentelemetry import metrics, trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
resource = Resource.create({"service.name": "bench"})
provider = TracerProvider(resource=resource)
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(URL + "/v1/traces")))
trace.set_tracer_provider(provider)
flush = provider.force_flush
"""
_METRICS = """
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
reader = PeriodicExportingMetricReader(OTLPMetricExporter(URL + "/v1/metrics"))
meters = MeterProvider([reader], resource=resource)
metrics.set_meter_provider(meters)
flush = lambda: (provider.force_flush(), meters.force_flush())
"""
_OURS = """
import os
os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = URL
os.environ["LLM_OBSERVE_CAPTURE_LEVEL"] = "full"
import llm_observe
handle = llm_observe.observe(service_name="bench")
flush = lambda: handle.flush(30)
"""
# The tokens of a stream are known to the server only; nobody else asks for them.
_NO_RELOAD = """
from llm_observe.tracing.export.completions import Completions
Completions.take = lambda self, item, call: False
"""
_OPENLLMETRY_REPLICATE = """
from opentelemetry.instrumentation.replicate import ReplicateInstrumentor
ReplicateInstrumentor().instrument()
"""
_OPENLLMETRY_OPENAI = """
from opentelemetry.instrumentation.openai import OpenAIInstrumentor
OpenAIInstrumentor().instrument()
"""
_OPENINFERENCE = """
from openinference.instrumentation.openai import OpenAIInstrumentor
OpenAIInstrumentor().instrument(tracer_provider=provider)
"""
_GENAI = """
import os
os.environ["OTEL_SEMCONV_STABILITY_OPT_IN"] = "gen_ai_latest_experimental"
os.environ["OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"] = "SPAN_ONLY"
from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor
OpenAIInstrumentor().instrument()
"""
# Its price table comes from GitHub otherwise, and a benchmark must not wait for that.
_OPENLIT = """
import openlit, tempfile
prices = tempfile.NamedTemporaryFile("w", suffix=".json")
prices.write('{"chat": {}, "completions": {}, "embeddings": {}, "images": {}, "audio": {}}')
prices.flush()
openlit.init(otlp_endpoint=URL, pricing_json=prices.name, application_name="bench")
from opentelemetry import metrics, trace
flush = lambda: [x.force_flush() for x in (trace.get_tracer_provider(), metrics.get_meter_provider())]
"""

_EXPORTER = ("opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http")


class Contender(NamedTuple):
    """One row of the table."""

    name: str
    client: str
    """The client library that makes the calls: ``replicate`` or ``openai``."""
    requirements: tuple[str, ...]
    setup: str
    """Python that sets it up; ``URL`` is the OTLP endpoint, and it leaves ``flush`` behind."""
    shown: tuple[str, ...]
    """Distributions whose versions are told."""

    @property
    def id(self) -> str:
        """Name of its environment."""
        return f"{self.name.removesuffix(' *').lower().replace(' ', '-')}-{self.client}"


OURS = "llm-observe"
SDK_ROW = Contender("OTel SDK", "replicate", (f"-e{ROOT}",), _SDK, ("opentelemetry-sdk",))
"""The yardstick of start-up: no instrumentation, in our environment."""

CONTENDERS = (
    Contender(OURS, "replicate", (f"-e{ROOT}",), _OURS, ("llm-observe",)),
    Contender(f"{OURS} *", "replicate", (f"-e{ROOT}",), _OURS + _NO_RELOAD, ("llm-observe",)),
    Contender(
        "OpenLLMetry",
        "replicate",
        (*_EXPORTER, "opentelemetry-instrumentation-replicate"),
        _SDK + _OPENLLMETRY_REPLICATE,
        ("opentelemetry-instrumentation-replicate",),
    ),
    Contender(
        "OpenLLMetry",
        "openai",
        (*_EXPORTER, "opentelemetry-instrumentation-openai"),
        _SDK + _METRICS + _OPENLLMETRY_OPENAI,
        ("opentelemetry-instrumentation-openai",),
    ),
    Contender(
        "OpenInference",
        "openai",
        (*_EXPORTER, "openinference-instrumentation-openai"),
        _SDK + _OPENINFERENCE,
        ("openinference-instrumentation-openai",),
    ),
    Contender(
        "OTel GenAI",
        "openai",
        (*_EXPORTER, "opentelemetry-instrumentation-genai-openai"),
        _SDK + _METRICS + _GENAI,
        ("opentelemetry-instrumentation-genai-openai",),
    ),
    Contender("OpenLIT", "openai", ("openlit",), _OPENLIT, ("openlit",)),
)

NOTES = {
    f"{OURS} *": "without the request after each stream that asks for its tokens: as much as"
    " others export",
}
MISSING = {"openai": f"{OURS}: calls through the openai client are not instrumented yet"}
"""Clients for which there is no row of ours; to add one, add it to `CONTENDERS`."""

_CLIENTS = {"replicate": "replicate>=1.0.7,<2", "openai": "openai"}


def environment(contender: Contender, renew: bool = False) -> Path:
    """The interpreter of a contender's environment, which is made if it is not there.

    Raises:
        subprocess.CalledProcessError: It could not be made; the installer's words are on stderr.
    """
    home = CACHE / (f"{OURS}-{contender.client}" if contender is SDK_ROW else contender.id)
    python, done = home / "bin" / "python", home / "complete.json"
    wanted = [_CLIENTS[contender.client], *contender.requirements]
    if not renew and done.exists() and json.loads(done.read_text()) == wanted:
        return python
    print(f"making the environment of {contender.name} ({contender.client})", file=sys.stderr)
    uv = str(_installer())
    _run(uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(home))
    _run(uv, "pip", "install", "--quiet", "--upgrade", "--python", str(python), *wanted)
    done.write_text(json.dumps(wanted))
    return python


def versions(python: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Versions of distributions in an environment."""
    code = (
        "import importlib.metadata as m, json, sys\n"
        "print(json.dumps({name: m.version(name) for name in sys.argv[1:]}))"
    )
    done = subprocess.run(
        [python, "-c", code, *names], capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return {name: str(version) for name, version in found.items()}


def _installer() -> Path:
    """uv, which finds versions that fit in seconds where older installers take a quarter hour."""
    home = CACHE / "installer"
    uv = home / "bin" / "uv"
    if not uv.exists():
        _run(sys.executable, "-m", "venv", str(home))
        _run(str(home / "bin" / "pip"), "install", "--quiet", "uv")
    return uv


def _run(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr, timeout=900)
