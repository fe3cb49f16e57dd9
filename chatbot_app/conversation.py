"""What the chatbot knows and says, without Streamlit: models, prompt, streaming, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol
from urllib.parse import urlencode, urlsplit
from uuid import uuid4

import httpx
from replicate.client import Client
from replicate.exceptions import ModelError, ReplicateError

GREETING = "How may I assist you today?"

MODELS: dict[str, str] = {
    "Llama2-7B": "meta/llama-2-7b-chat",
    "Llama2-13B": "meta/llama-2-13b-chat",
    "Llama2-70B": "meta/llama-2-70b-chat",
}

SYSTEM_PROMPT = (
    "You are a helpful assistant. You answer once, as the assistant; "
    "you never write the user's part."
)

REPLICATE_URL = "https://api.replicate.com"
LOCAL_URL = "http://127.0.0.1:5320"
LONGEST_QUESTION = 4000
"""Characters of one question."""

_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_CHARACTERS_PER_TOKEN = 3
"""Cautious: English has about four."""


@dataclass(frozen=True, slots=True)
class Backend:
    """Who is asked."""

    base_url: str
    token: str | None
    source: Literal["environment", "typed", "none"]
    """Where the API key comes from."""

    @property
    def local(self) -> bool:
        """Whether a server on this machine answers in Replicate's place."""
        return urlsplit(self.base_url).hostname in _LOOPBACK

    @property
    def context_tokens(self) -> int:
        """Tokens that prompt and answer may have together."""
        return 2048 if self.local else 4096


def choose_backend(environment: Mapping[str, str], typed: str = "") -> Backend:
    """Decide who is asked.

    A key in the environment wins, with ``REPLICATE_BASE_URL`` if that is set. A typed key goes to
    Replicate itself and nowhere else. Without a key the local Llama is asked.
    """
    base_url = environment.get("REPLICATE_BASE_URL", "").rstrip("/")
    if token := environment.get("REPLICATE_API_TOKEN", "").strip():
        return Backend(base_url or REPLICATE_URL, token, "environment")
    if typed.strip():
        return Backend(REPLICATE_URL, typed.strip(), "typed")
    return Backend(base_url or LOCAL_URL, None, "none")


class Connection:
    """A client of the backend's, with its connections.

    It outlives the single answer: what only the server knows about an answer is fetched through
    it afterwards.
    """

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self._transport = httpx.HTTPTransport()
        self.client = Client(
            backend.token or "local",
            base_url=backend.base_url,
            timeout=httpx.Timeout(60.0, connect=5.0),
            transport=self._transport,
        )

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameters:
    """What the sidebar sets."""

    model: str = MODELS["Llama2-7B"]
    temperature: float = 0.1
    top_p: float = 0.9
    max_length: int = 128
    """Tokens of an answer."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of the conversation."""

    role: Literal["user", "assistant"]
    text: str
    note: str = ""
    """What to know about an answer, such as that it was broken off."""
    reference: str = ""
    """Names the span of an answer's turn, for what the user thinks of it."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A failure as a person needs it: what happened, and what to do."""

    sentence: str
    way_on: str


@dataclass(slots=True)
class Conversation:
    """The turns of one chat. A failure changes nothing but `trouble`."""

    turns: list[Turn] = field(default_factory=lambda: [Turn("assistant", GREETING)])
    session: str = field(default_factory=lambda: uuid4().hex)
    trouble: Trouble | None = None
    judged: dict[str, int | None] = field(default_factory=dict)
    """The user's thumb for each answer, by its turn's reference: 1 up, 0 down, None taken back."""

    def ask(self, text: str) -> None:
        """Add a question; one that was never answered is replaced by it."""
        if self.awaits_answer:
            self.turns.pop()
        self.trouble = None
        self.turns.append(Turn("user", text.strip()[:LONGEST_QUESTION]))

    @property
    def awaits_answer(self) -> bool:
        """Whether the last word is the user's."""
        return self.turns[-1].role == "user"

    def answered(self, text: str, note: str = "", reference: str = "") -> None:
        """Add the answer, whole or as far as it came; nothing is added where nothing came."""
        if text.strip():
            self.turns.append(Turn("assistant", text, note, reference))

    def retry(self) -> None:
        """Forget the trouble, and what came of the last answer, so that it is asked again."""
        self.trouble = None
        if self.turns[-1].note and len(self.turns) > 1:
            self.turns.pop()

    def model_input(self, parameters: Parameters, context_tokens: int) -> dict[str, Any]:
        """The `input` of a Replicate Llama 2 prediction."""
        room = context_tokens - parameters.max_length - 128
        return {
            "prompt": dialogue(self.turns[1:], room * _CHARACTERS_PER_TOKEN),
            "system_prompt": SYSTEM_PROMPT,
            "temperature": parameters.temperature,
            "top_p": parameters.top_p,
            "max_new_tokens": parameters.max_length,
            "repetition_penalty": 1,
        }


_SPEAKERS = {"user": "User", "assistant": "Assistant"}


def dialogue(turns: Sequence[Turn], most_characters: int) -> str:
    """The turns as Llama 2 chatbots write them, with the oldest left out beyond the bound.

    The newest turn is always there. A history begins with the user.
    """
    lines = [f"{_SPEAKERS[turn.role]}: {turn.text}" for turn in turns]
    kept = lines[-1:]
    for line in reversed(lines[:-1]):
        if sum(map(len, kept)) + len(line) > most_characters:
            break
        kept.insert(0, line)
    while len(kept) > 1 and kept[0].startswith("Assistant:"):
        kept.pop(0)
    if len(kept) == 1:
        return kept[0].removeprefix("User: ")
    return "\n\n".join([*kept, "Assistant:"])


class Streams(Protocol):
    """The part of `replicate.Client` that is used."""

    def stream(self, ref: str, *, input: dict[str, Any]) -> Iterator[Any]:
        """Ask a model and yield events."""


class Interrupted(Exception):
    """The answer ended before it was whole; the message says why."""


def answer(client: Streams, model: str, model_input: dict[str, Any]) -> Iterator[str]:
    """Yield an answer's text as it comes.

    Raises:
        Interrupted: The model's side ended it early.
        Exception: What the client raises; see `explain`.
    """
    some = False
    for event in client.stream(model, input=model_input):
        if event.event.value == "done":
            _check_end(event.data)
        elif text := str(event):
            some = some or bool(text.strip())
            yield text
    if not some:
        raise Interrupted("The model gave an empty answer.")


def _check_end(data: str) -> None:
    try:
        reason = json.loads(data).get("reason")
    except (ValueError, AttributeError):
        return
    if reason == "canceled":
        raise Interrupted("The answer was cancelled at the model's side.")
    if reason == "error":
        raise Interrupted("The model failed in the middle of its answer.")


_TRY_AGAIN = "Your conversation is kept. Try again in a moment."

_STATUSES: dict[int, Trouble] = {
    401: Trouble(
        "The API key was not accepted.",
        "Check it at replicate.com/account/api-tokens, or take it out to use the local Llama.",
    ),
    402: Trouble(
        "Your Replicate account has no credit left.",
        "Add billing at replicate.com/account/billing, or take the key out to use the local Llama.",
    ),
    403: Trouble("The API key does not allow this model.", "Choose another model or key."),
    404: Trouble("This model does not exist there.", "Choose another model in the sidebar."),
    422: Trouble("The model refused the request.", "Change the parameters in the sidebar."),
    429: Trouble("Too many requests: the rate limit was reached.", _TRY_AGAIN),
}


def explain(error: BaseException, backend: Backend) -> Trouble:
    """Put any failure of an answer into words, without the user's key or question."""
    if isinstance(error, ReplicateError):
        return _explain_status(error)
    if isinstance(error, Interrupted):
        return Trouble(str(error), _TRY_AGAIN)
    if isinstance(error, httpx.TimeoutException):
        return Trouble("The model did not answer in time.", _TRY_AGAIN)
    if isinstance(error, httpx.TransportError):
        return _explain_network(error, backend)
    if isinstance(error, ModelError | RuntimeError):
        return Trouble(f"The model failed: {_detail(error)}", _TRY_AGAIN)
    return Trouble(f"Something unexpected happened ({type(error).__name__}).", _TRY_AGAIN)


def _explain_status(error: ReplicateError) -> Trouble:
    status = error.status or 0
    known = _STATUSES.get(status)
    if known is not None and status == 422:
        return Trouble(f"{known.sentence} {_short(error.detail or '')}".strip(), known.way_on)
    if known is not None:
        return known
    if status >= 500:
        return Trouble(f"The model's server is down (HTTP {status}).", _TRY_AGAIN)
    return Trouble(f"The request was refused (HTTP {status}).", _TRY_AGAIN)


def _explain_network(error: httpx.TransportError, backend: Backend) -> Trouble:
    if isinstance(error, httpx.RemoteProtocolError | httpx.ReadError):
        return Trouble("The connection broke in the middle of the answer.", _TRY_AGAIN)
    if backend.local:
        start = "Start it with: python -m chatbot_app.local_llama"
        return Trouble(f"The local Llama does not answer at {backend.base_url}.", start)
    return Trouble("Replicate cannot be reached.", "Check the network, then try again.")


def _detail(error: BaseException) -> str:
    """The reason in an error event: ``{"detail": …}`` or plain text."""
    text = str(error)
    with suppress(ValueError, KeyError, TypeError):
        text = str(json.loads(text)["detail"])
    return _short(text) or "it gave no reason."


def _short(text: str) -> str:
    return " ".join(text.split())[:300]


@dataclass(frozen=True, slots=True)
class LocalModel:
    """What the local Llama says that it is."""

    engine: str
    real: bool
    reason: str = ""

    def sentence(self) -> str:
        """What the user must know about it."""
        if not self.real:
            return f"No model is running: answers are **scripted text** ({self.reason})."
        size = " It is small (135M parameters): fluent, weak in facts." if self._small else ""
        return f"Answers come from **{self.engine}** on this machine, not from Llama 2.{size}"

    @property
    def _small(self) -> bool:
        return "135M" in self.engine


def local_model(base_url: str, client: httpx.Client) -> LocalModel | None:
    """Ask the local Llama what it is; None where nothing (or something else) answers."""
    try:
        health = client.get(f"{base_url}/healthz").json()
        return LocalModel(str(health["engine"]), bool(health["real"]), str(health["reason"]))
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None


def traces_url(server: str, session: str) -> str:
    """The control plane's page with the traces of one session."""
    return f"{server.rstrip('/')}/traces?{urlencode({'session': session, 'range': 'all'})}"
