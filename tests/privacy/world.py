"""A program with the real agent and the real pipeline, its control plane, its destinations, its clocks.

The control plane's line is a pair of protocols in memory, the clocks are stepped by hand, the
destinations are real HTTP receivers on loopback (`tests.privacy.receivers`).
"""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from llm_observe.agent import standing
from llm_observe.agent.options import read_options
from llm_observe.agent.runtime import Runtime, Start
from llm_observe.opamp import ConfigFile, ConfigState, events
from llm_observe.policy.capture import Clocks
from llm_observe.policy.redaction import Redactor
from llm_observe.settings.documents import document_hash
from llm_observe.tracing.export import present as presenting
from llm_observe.tracing.export.bounds import Bounds
from llm_observe.tracing.pipeline import Pipeline
from llm_observe.tracing.rendering.privacy import Privacy
from llm_observe.tracing.rendering.render import render
from llm_observe.tracing.wrapping import instrument, patch
from tests.agent.doubles import MemoryLink
from tests.privacy.actions import Action
from tests.privacy.canaries import Canary, Nest, Rule, Running, Where
from tests.privacy.content import Content, StepKind
from tests.privacy.receivers import PATIENCE_S, Post
from tests.tracing.doubles import MODEL, ReplicateAPI

_QUICK = Bounds(
    delay_s=0.001, retry_first_s=0.005, retry_most_s=0.02, grace_s=0.01, metrics_period_s=0.05
)
_LARGE = 60_000
_START = Clocks(boot=500.0, wall=1_800_000_000.0)


@dataclass(frozen=True)
class Leak:
    """A canary where it must not be."""

    path: str
    flavour: str
    place: str

    def __str__(self) -> str:
        return f"{self.path} ({self.flavour}) {self.place}"


@dataclass
class Outcome:
    """What came of a sequence."""

    leaks: list[Leak] = field(default_factory=list)
    seen: Counter[str] = field(default_factory=Counter)
    """How often a canary of each path arrived, allowed."""
    laid: set[str] = field(default_factory=set)
    """The paths that canaries were put on."""
    acknowledged: int = 0
    refused: int = 0


@dataclass
class _Given:
    """A grant as it was acknowledged."""

    match: Mapping[str, Any]
    level: str
    ends: Clocks


class Line(MemoryLink):
    """The agent's line, on which everything that it reports is read."""

    said: list[str]

    def report(self, **parts: Any) -> None:
        self.said.append(repr(parts))
        super().report(**parts)


class World:
    """Does actions, and notes what may leave when. Use `run`."""

    def __init__(self, post: Post, folder: Path) -> None:
        self.post, self._folder = post, folder
        self.boot, self.wall = _START
        self.nest, self.outcome = Nest(), Outcome()
        self._content = Content(self.nest)
        self._api = ReplicateAPI()
        self._client = self._api.client()
        self.said: list[str] = []
        self._document: Mapping[str, Any] = {}
        self._given: dict[str, _Given] = {}
        self._over: set[str] = set()
        self._also: tuple[Rule, ...] = ()
        self._rules: dict[int, list[Rule]] = {post.now: [Rule({})]}
        self._open: list[Any] = []
        self._streams: list[Any] = []
        self._ended: list[Any] = []
        self._fault = ""
        self._begin()

    # -- the program ---------------------------------------------------------------------------

    def _begin(self) -> None:
        environ = {
            "OTEL_SERVICE_NAME": "watched",
            "LLM_OBSERVE_OPAMP_ENDPOINT": "ws://in-memory",
            "LLM_OBSERVE_STATE_DIR": str(self._folder),
        }
        options = read_options(environ, self.wall)
        first = standing.first(options, self.clocks())
        self.pipeline = Pipeline(
            first.resource, first.resolved.settings, first.config_hash, bounds=_QUICK, environ={},
            grants=first.grants(options.limits), clocks=self.clocks,
        )  # fmt: skip
        start = Start(options=options, standing=first, pipeline=self.pipeline)
        self.runtime = Runtime(start, self._line, clock=lambda: self.wall, clocks=self.clocks)
        self.runtime.introduce()
        self._link.start()
        patch.connect(self.pipeline)
        self._serve()

    def _line(self, uid: bytes, hear: Any) -> Line:
        self._link = Line(uid, hear)
        self._link.said = self.said
        return self._link

    def _serve(self) -> None:
        for _ in range(3):
            heard, _ = self._link.pair.exchange(self.wall)
            for event in heard:
                self._link.hear(event)
            for _ in range(1 + sum(isinstance(x, events.ConfigOffered) for x in heard)):
                self.runtime.step()

    def clocks(self) -> Clocks:
        return Clocks(self.boot, self.wall)

    def end(self) -> None:
        """Everything well again: what is there leaves now, if it does."""
        self._faulty("")
        for receiver in self.post.receivers.values():
            receiver.mode = "well"
        while self._open:
            self.do_end("well")
        self._streams.clear()
        self.pipeline.flush(PATIENCE_S)
        self.pipeline.shutdown(PATIENCE_S)
        patch.connect(None)
        self._boundary()
        self._judge()
        self._release()

    def _release(self) -> None:
        """As the end of a process does: its folder is anybody's again."""
        folder = self.runtime.standing.lastgood._folder
        if folder is not None:
            folder.release()

    # -- what happens --------------------------------------------------------------------------

    def do_offer(self, template: Mapping[str, Any]) -> None:
        document = self._meant(template)
        digest = document_hash(document)
        file = ConfigFile(json.dumps(document).encode(), "application/json")
        self._link.pair.server.offer_config({"llm-observe": file}, digest)
        self._serve()
        status = self._link.pair.server.state.config_status
        assert status is not None
        assert status.hash == digest
        applied = status.state is ConfigState.APPLIED
        self.outcome.acknowledged += applied
        self.outcome.refused += not applied
        self._also = () if applied else (*self._also, Rule(document, self._running_of(document)))
        self._acknowledged(document if applied else self.runtime.standing.resolved.document)

    def do_call(self, model: str, ending: str, size: int) -> None:
        call = self._content.call(model, ending, size)
        span = self.pipeline.start(call)
        call.end_ns = call.now()
        self.pipeline.finish(span, call)
        self._ended.append(span)

    def do_begin(self, model: str, size: int) -> None:
        call = self._content.call(model, "well", size)
        self._open.append((self.pipeline, self.pipeline.start(call), call))

    def do_remark(self) -> None:
        for _, span, call in self._open[-1:]:
            self._content.remark(span, Where(call.request_model, call.session))

    def do_end(self, ending: str) -> None:
        if self._open:
            pipeline, span, call = self._open.pop(0)
            self._content.ended(call, ending)
            call.end_ns = call.now()
            pipeline.finish(span, call)
            self._ended.append(span)

    def do_stream(self) -> None:
        self._api.words = self._content.words()
        stream = self._client.stream(MODEL, input=self._content.prompt())
        next(stream)
        self._streams.append(stream)

    def do_read(self) -> None:
        for stream in self._streams[:1]:
            if next(stream, None) is None:
                self._streams.remove(stream)

    def do_foreign(self, llm: bool) -> None:
        self._content.foreign(self.pipeline, llm)

    def do_step(self, kind: StepKind, fails: bool) -> None:
        self._content.step(kind, fails)

    def do_score(self) -> None:
        for span in self._ended[-1:]:
            self._content.score(span)

    def do_mode(self, receiver: str, mode: Any) -> None:
        self.post.receivers[receiver].mode = mode

    def do_flush(self) -> None:
        self.pipeline.flush(0.03)

    def do_jam(self, model: str) -> None:
        """A call that is larger than what connections hold, to receivers that stop reading."""
        for receiver in self.post.receivers.values():
            receiver.mode = "deaf"
        self.do_call(model, "well", _LARGE)
        self.do_flush()

    def do_fault(self, kind: str) -> None:
        self._faulty(kind)

    def do_tick(self, seconds: float, wall: float | None) -> None:
        """Time passes and the agent sees it; the wall clock may be turned meanwhile."""
        self._pass(seconds, wall)
        self._serve()
        self._acknowledged(self._document)

    def do_asleep(self, seconds: float) -> None:
        """Time passes while nothing is under way, and the agent does not see it."""
        for receiver in self.post.receivers.values():
            receiver.mode = "well"
        if self.pipeline.flush(1.0):
            self._pass(seconds, None)
            self._boundary()

    def do_restart(self) -> None:
        """The program is killed and starts again in the same folder."""
        self.pipeline.shutdown(0.0)
        self._release()
        for open_ in (self._open, self._streams, self._ended):
            open_.clear()
        self._begin()
        self._boundary()

    # -- what holds ----------------------------------------------------------------------------

    def _meant(self, template: Mapping[str, Any]) -> dict[str, Any]:
        """A document of the sequence with the addresses and times of this world."""
        places = {
            name: {**to, "endpoint": self.post.receivers[to["endpoint"]].url}
            for name, to in template["destinations"].items()
        }
        capture = dict(template["capture"])
        if "grants" in capture:
            capture["grants"] = {
                name: {**grant, "until": self._moment(grant["until"])}
                for name, grant in capture["grants"].items()
            }
        return {**template, "destinations": places, "capture": capture}

    def _moment(self, seconds: float) -> str:
        return datetime.fromtimestamp(self.wall + seconds, UTC).isoformat()

    def _acknowledged(self, document: Mapping[str, Any]) -> None:
        self._document = document
        grants = document.get("capture", {}).get("grants", {})
        self._over |= self._given.keys() - grants.keys()
        for name, grant in grants.items():
            ends = Clocks(
                self.boot + grant["longest_s"], datetime.fromisoformat(grant["until"]).timestamp()
            )
            if name in self._given:
                ends = Clocks(min(ends.boot, self._given[name].ends.boot), ends.wall)
            self._given[name] = _Given(grant.get("match", {}), grant["level"], ends)
        self._boundary()

    def _pass(self, seconds: float, wall: float | None) -> None:
        self.boot, self.wall = self.boot + seconds, self.wall + (seconds if wall is None else wall)
        now = self.clocks()
        self._over |= {
            name
            for name, grant in self._given.items()
            if now.boot >= grant.ends.boot or now.wall >= grant.ends.wall
        }

    def _boundary(self) -> None:
        """From here on what leaves is judged by what holds now; until here, by what held too."""
        rule = Rule(self._document, self._running_of(self._document), self._also)
        self._rules[self.post.now].append(rule)
        self._rules[self.post.epoch()] = [rule]

    def _running_of(self, document: Mapping[str, Any]) -> tuple[Running, ...]:
        """The grants of a document that have begun and are not over."""
        return tuple(
            Running(self._given[name].match, self._given[name].level)
            for name in document.get("capture", {}).get("grants", {})
            if name in self._given and name not in self._over
        )

    def _judge(self) -> None:
        self.outcome.laid = {canary.path for canary in self.nest.known.values()}
        for request in self.post.requests:
            url = self.post.receivers[request.receiver].url
            rules = self._rules[request.last_epoch]
            spans = request.path.endswith("/v1/traces")
            for canary in self.nest.found(request.text):
                if spans and any(rule.allows(canary, url) for rule in rules):
                    self.outcome.seen[canary.path] += 1
                else:
                    self._leaked(canary, f"to {request.receiver}{request.path}")
            for canary in self.nest.found(request.head):
                self._leaked(canary, "in a request's head")
        for text in self.said:
            for canary in self.nest.found(text):
                self._leaked(canary, "in a report to the control plane")
        for path in filter(Path.is_file, self._folder.rglob("*")):
            for canary in self.nest.found(path.read_bytes()):
                self._leaked(canary, f"in {path.name}")

    def logged(self, text: str) -> None:
        """A line of any logger."""
        for canary in self.nest.found(text):
            self._leaked(canary, "in the log")

    def _leaked(self, canary: Canary, place: str) -> None:
        self.outcome.leaks.append(Leak(canary.path, canary.flavour, place))

    # -- faults --------------------------------------------------------------------------------

    def _faulty(self, kind: str) -> None:
        """From now on this part of ours raises, and quotes what it was given."""
        for name, (owner, attribute, ours) in _BREAKABLE.items():
            setattr(owner, attribute, _raising if name == kind else ours)


_BREAKABLE: dict[str, tuple[Any, str, Any]] = {
    "detector": (Redactor, "finds", Redactor.finds),
    "rendering": (presenting, "render", render),
    "levels": (Privacy, "levels", Privacy.levels),
}


def _raising(*given: Any) -> Any:
    raise ValueError(f"cannot cope with {given!r} of {getattr(given[0], 'input', '')!r}")


class _Reader(logging.Handler):
    def __init__(self, world: World) -> None:
        super().__init__(logging.DEBUG)
        self._world = world

    def emit(self, record: logging.LogRecord) -> None:
        self._world.logged(logging.Formatter().format(record))


@contextlib.contextmanager
def _read(world: World) -> Iterator[None]:
    root, reader = logging.getLogger(), _Reader(world)
    level = root.level
    root.addHandler(reader)
    root.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        root.removeHandler(reader)
        root.setLevel(level)


def run(post: Post, actions: Sequence[Action]) -> Outcome:
    """Do the actions in a world of their own."""
    folder = Path(tempfile.mkdtemp(prefix="llm-observe-privacy-"))
    post.forget()
    instrument.install()
    try:
        world = World(post, folder)
        with _read(world):
            for name, *given in actions:
                getattr(world, f"do_{name}")(*given)
            world.end()
        return world.outcome
    finally:
        patch.connect(None)
        instrument.uninstall()
        shutil.rmtree(folder, ignore_errors=True)
