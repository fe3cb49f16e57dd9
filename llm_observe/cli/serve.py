"""``llm-observe serve``: the control plane."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from llm_observe.cli import options
from llm_observe.control.app import OTLP_PORT, PORT, ServeOptions, default_data_dir
from llm_observe.control.app import serve as run
from llm_observe.spanstore.model import Retention

app = typer.Typer()


class LogLevel(StrEnum):
    """How much is logged."""

    ERROR = "error"
    WARNING = "warning"
    INFO = "info"
    DEBUG = "debug"


_DAY, _GB = 86_400.0, 1024**3
_KEPT = Retention()


@app.command()
def serve(
    host: Annotated[
        str,
        typer.Option(help="Address to listen on. Beyond this machine every door needs a token."),
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="Pages, REST, OpAMP and OTLP/HTTP; 0 for a free one."),
    ] = PORT,
    otlp_port: Annotated[
        int, typer.Option(min=0, max=65535, help="Second port for OTLP/HTTP; 0 for none.")
    ] = OTLP_PORT,
    data_dir: options.DataDir = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="A further name that this server is reached by."),
    ] = None,
    retention_days: Annotated[
        float, typer.Option(min=0, help="Days that spans are kept; 0 for ever.")
    ] = _KEPT.max_age_s / _DAY,
    retention_gb: Annotated[
        float, typer.Option(min=0, help="Most gigabytes of spans; 0 for no bound.")
    ] = _KEPT.max_bytes / _GB,
    heartbeat: Annotated[
        str, typer.Option(metavar="TIME", help="How often an idle agent is to be heard of.")
    ] = "30s",
    log_level: Annotated[
        LogLevel, typer.Option(help="What is logged, on stderr.")
    ] = LogLevel.WARNING,
) -> int:
    """Start the control plane: pages, REST, OpAMP and OTLP/HTTP on one address. Ctrl-C stops it.

    On 127.0.0.1 no token is needed until one is made. On another address the first tokens are
    made at the first start and shown once.
    """
    return run(
        ServeOptions(
            host=host,
            port=port,
            otlp_port=otlp_port or None,
            data_dir=data_dir or default_data_dir(),
            hosts=tuple(allow_host or ()),
            retention=Retention(max_age_s=retention_days * _DAY, max_bytes=int(retention_gb * _GB)),
            heartbeat_s=options.seconds(heartbeat),
            log_level=str(log_level),
        )
    )
