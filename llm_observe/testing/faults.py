"""What can be told to go wrong on a fake server, one prediction at a time."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """How one prediction goes wrong; the defaults go right.

    Hand them to `FakeReplicate.script` in the order of the coming create requests. Several fields
    may be combined, such as a cold start with a failure.
    """

    status: int | None = None
    """Refuse the create request with this HTTP status; no prediction is made."""

    detail: str = "refused by the script"
    """The `detail` of that refusal."""

    retry_after_s: int | None = None
    """Its ``Retry-After`` header, in whole seconds."""

    no_answer: bool = False
    """Cut the connection of the create request without an answer."""

    queue_s: float = 0.0
    """Stay ``starting`` for so many seconds: the queue or a cold start."""

    chunk_s: float = 0.0
    """Wait so many seconds before each chunk: a slow model."""

    fail_after: int | None = None
    """Fail after so many chunks (0: before the first)."""

    error: str = "the model failed"
    """The `error` of the failed prediction."""

    hang_after: int | None = None
    """Make no more chunks after so many (0: none at all), and stay ``processing``."""

    cancel_after: int | None = None
    """End as ``canceled`` after so many chunks, as if somebody else had cancelled."""

    logs: str = ""
    """What the model prints before its first chunk; `logs` of the prediction, and an event."""

    break_stream_after: int | None = None
    """Cut the event stream without ``done`` after so many chunks; the prediction goes on."""

    hang_stream_after: int | None = None
    """Say nothing more on the event stream after so many chunks, and keep it open."""

    stream_status: int | None = None
    """Refuse the event stream with this HTTP status."""

    get_status: int | None = None
    """Refuse every later GET of the prediction with this HTTP status."""

    get_delay_s: float = 0.0
    """Wait so many seconds before answering a GET of the prediction."""

    early_answer: bool = False
    """Answer a blocking create with the whole output but ``processing`` and without metrics, as
    Replicate may."""


NO_FAULT = Fault()
