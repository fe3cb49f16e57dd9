"""What an answer means for the batch that it answers. Pure rules over status codes.

HTTP has its status, gRPC a code by name; one table for each, and the same thinking in both. OTLP
calls every 4xx but 429 final, and half of gRPC's codes. Here a batch is given up only if it is
itself what was refused: a wrong address or a stale token is repaired by remote control, and what
waited is delivered then.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus

from llm_observe.tracing.export.faults import KeyFault
from llm_observe.tracing.export.target import Signal

OK = "OK"
_EXHAUSTED = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one request. ``status`` 0 and no ``code``: there was no answer, see ``reason``.

    ``code`` is the name of a gRPC status code, such as ``UNAVAILABLE``. ``reason`` holds neither header values nor anything the destination wrote in its body,
    because a destination may echo what it was sent.
    """

    status: int
    reason: str = ""
    retry_after_s: float | None = None
    content_type: str = ""
    body: bytes = b""
    code: str = ""
    fault: KeyFault | None = None
    """The key of the destination that is to blame, where it is not its endpoint."""

    @property
    def succeeded(self) -> bool:
        """2xx, and not from a web site that answers everything with a page; gRPC's OK."""
        return self.code == OK or (200 <= self.status < 300 and not self._is_page)

    @property
    def answered(self) -> bool:
        """Whether the destination said anything."""
        return bool(self.status or self.code)

    @property
    def throttled(self) -> bool:
        """Understood, and put off: HTTP 429, or gRPC's RESOURCE_EXHAUSTED with a time to wait."""
        return self.status == HTTPStatus.TOO_MANY_REQUESTS or (
            self.code == _EXHAUSTED and self.retry_after_s is not None
        )

    @property
    def _is_page(self) -> bool:
        return self.content_type.lower().startswith("text/html")


class Verdict(Enum):
    """What to do with a batch."""

    ACCEPTED = auto()
    """It arrived."""

    RETRY = auto()
    """Keep it: the destination is at fault, and can be repaired or moved."""

    ROTATE = auto()
    """Keep it, behind the others: it may itself be what the destination stumbles over."""

    SPLIT = auto()
    """Keep it, send less at once."""

    DROP = auto()
    """This destination will never take it."""

    UNSUPPORTED = auto()
    """This destination does not take this signal."""


_PAYLOAD_REFUSED = frozenset({400, 413, 422})
_NO_SUCH_SIGNAL = frozenset({404, 405, 501})
_SERVER_STUMBLED = 500


_BY_CODE: dict[str, Verdict] = {
    "INVALID_ARGUMENT": Verdict.DROP,
    "ALREADY_EXISTS": Verdict.DROP,
    "FAILED_PRECONDITION": Verdict.DROP,
    "UNKNOWN": Verdict.ROTATE,
    "INTERNAL": Verdict.ROTATE,
}
"""gRPC codes that speak of the batch; after any other one it is kept in its place."""


def judge(answer: Answer, signal: Signal, items: int) -> Verdict:
    """The verdict over a batch of ``items``. A redirect is never followed, so it is a failure too."""
    if answer.succeeded:
        return Verdict.ACCEPTED
    rules = _judge_grpc if answer.code else _judge_http
    return rules(answer, signal, items)


def _judge_http(answer: Answer, signal: Signal, items: int) -> Verdict:
    status = answer.status
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and items > 1:
        return Verdict.SPLIT
    if status in _PAYLOAD_REFUSED:
        return Verdict.DROP
    if signal == "metrics" and status in _NO_SUCH_SIGNAL:
        return Verdict.UNSUPPORTED
    return Verdict.ROTATE if status == _SERVER_STUMBLED else Verdict.RETRY


def _judge_grpc(answer: Answer, signal: Signal, items: int) -> Verdict:
    """OTLP/gRPC, "Failures": RESOURCE_EXHAUSTED without a time to wait is about the batch's size."""
    if answer.code == _EXHAUSTED and not answer.throttled:
        return Verdict.SPLIT if items > 1 else Verdict.DROP
    if signal == "metrics" and answer.code == "UNIMPLEMENTED":
        return Verdict.UNSUPPORTED
    return _BY_CODE.get(answer.code, Verdict.RETRY)


def explain(answer: Answer) -> str:
    """One short line for people: ``HTTP 302 Found, a redirect, which is not followed``."""
    if answer.code:
        return f"gRPC {answer.code}{answer.reason and f': {answer.reason}'}"
    if not answer.status:
        return answer.reason
    text = f"HTTP {answer.status} {_phrase(answer.status)}".rstrip()
    if 300 <= answer.status < 400:
        return f"{text}, a redirect, which is not followed"
    return f"{text}, but a web page instead of an OTLP answer" if answer.status < 300 else text


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
