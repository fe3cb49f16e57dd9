"""What an answer means for the batch that it answers. Pure rules over status codes."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus

from llm_observe.tracing.export.target import Signal


@dataclass(frozen=True, slots=True)
class Answer:
    """The end of one request. ``status`` 0: there was no answer, and ``reason`` says why.

    ``reason`` holds neither header values nor anything the destination wrote in its body,
    because a destination may echo what it was sent.
    """

    status: int
    reason: str = ""
    retry_after_s: float | None = None
    content_type: str = ""
    body: bytes = b""

    @property
    def succeeded(self) -> bool:
        """2xx, and not from a web site that answers everything with a page."""
        return 200 <= self.status < 300 and not self._is_page

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


def judge(answer: Answer, signal: Signal, items: int) -> Verdict:
    """The verdict over a batch of ``items``.

    OTLP calls every 4xx but 429 final. Here a batch is given up only if it is itself what was
    refused: a wrong address or a stale token is repaired by remote control, and what waited
    is delivered then. A redirect is never followed, so it is a failure too.
    """
    status = answer.status
    if answer.succeeded:
        return Verdict.ACCEPTED
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and items > 1:
        return Verdict.SPLIT
    if status in _PAYLOAD_REFUSED:
        return Verdict.DROP
    if signal == "metrics" and status in _NO_SUCH_SIGNAL:
        return Verdict.UNSUPPORTED
    return Verdict.ROTATE if status == _SERVER_STUMBLED else Verdict.RETRY


def explain(answer: Answer) -> str:
    """One short line for people: ``HTTP 302 Found, a redirect, which is not followed``."""
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
