"""Random sequences of what may happen to a program, as data: from a seed, and made shorter."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llm_observe.settings.documents import merge
from tests.privacy.canaries import CODE_PATTERN, LEVELS, PARTS
from tests.privacy.receivers import MODES

Action = tuple[Any, ...]
"""What `tests.privacy.world.World` does, and with what."""

MODELS = ("meta/llama-2-7b-chat", "acme/writer")
RECEIVERS = "ABC"
_WEIGHTS = {
    "offer": 20, "call": 16, "begin": 8, "end": 6, "remark": 5, "stream": 6, "read": 6, "foreign": 9,
    "step": 8, "score": 4, "mode": 12, "tick": 5, "asleep": 3, "fault": 4, "flush": 10, "restart": 1,
    "jam": 4, "refused": 3,
}  # fmt: skip


def sequence(seed: int) -> list[Action]:
    """The sequence of this number."""
    rng = random.Random(seed)
    document = _first(rng)
    actions: list[Action] = [("offer", document)]
    names, weights = zip(*_WEIGHTS.items(), strict=True)
    for _ in range(rng.randint(6, 16)):
        (name,) = rng.choices(names, weights)
        if name == "offer":
            document = _next(rng, document)
            actions.append(("offer", document))
        elif name in _TELLING:
            more, document = _TELLING[name](rng, document, f"n{len(actions)}")
            actions += more
        else:
            actions.append((name, *_MORE.get(name, _nothing)(rng)))
    return actions


Told = tuple[list[Action], dict[str, Any]]
"""Actions that belong together, and the document after them."""


def _stuck(rng: random.Random, document: dict[str, Any], name: str) -> Told:
    """What is stuck on its way is what a change must not forget."""
    before = _granted(document, name) if rng.random() < 0.4 else document
    after = document if before is not document else _next(rng, document)
    jam = ("jam", rng.choice(MODELS))
    return [*([("offer", before)] if before is not after else []), jam, ("offer", after)], after


def _slept(rng: random.Random, document: dict[str, Any], name: str) -> Told:
    """A grant ends, seen by the agent or not, the wall clock turned or not."""
    document = _granted(document, name)
    stuck: list[Action] = [("jam", rng.choice(MODELS)), ("tick", 60.0, None)]
    passing = rng.choice(([("asleep", 60.0)], [("tick", 60.0, -300.0)], stuck))
    return [("offer", document), *passing, ("call", *_MORE["call"](rng))], document


def _refused(rng: random.Random, document: dict[str, Any], _: str) -> Told:
    """A change that fails, since a receiver of it does not answer; what is tighter in it holds."""
    place = rng.choice(RECEIVERS)
    to = {"compression": "none", "timeout_s": 0.5, "signals": ["traces"], "endpoint": place}
    wanted = _level(rng, {**document, "destinations": {**document["destinations"], "c": to}})
    broken, well = ("mode", place, "broken"), ("mode", place, "well")
    return [broken, ("offer", wanted), well, ("call", *_MORE["call"](rng))], document


_TELLING: dict[str, Callable[[random.Random, dict[str, Any], str], Told]] = {
    "jam": _stuck,
    "asleep": _slept,
    "refused": _refused,
}


def shorter(actions: Sequence[Action], still: Callable[[Sequence[Action]], bool]) -> list[Action]:
    """As few of them, in order, as still do; pieces are left out, halves first."""
    found, size = [*actions], max(1, len(actions) // 2)
    while size:
        start = 0
        while start < len(found):
            tried = found[:start] + found[start + size :]
            if tried and still(tried):
                found = tried
            else:
                start += size
        size //= 2
    return found


def _first(rng: random.Random) -> dict[str, Any]:
    level = rng.choices(LEVELS, (1, 3, 5, 8))[0]
    made = {"capture": {"level": level}, "destinations": _destinations(rng)}
    for change in rng.choice(((), (_detector,), (_grant,), (_detector, _pattern), (_part, _rule))):
        made = change(rng, made)
    return made


def _next(rng: random.Random, document: Mapping[str, Any]) -> dict[str, Any]:
    """One or two things other than before."""
    made = dict(document)
    for change in rng.sample(_CHANGES, rng.choice((1, 1, 2))):
        made = change(rng, made)
    return made


def _level(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    return merge(made, {"capture": {"level": rng.choices(LEVELS, (2, 3, 3, 3))[0]}})


def _part(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    return merge(made, {"capture": {rng.choice(PARTS): rng.choice((None, *LEVELS))}})


def _rule(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    rule = {"match": rng.choice(_MATCHERS), "level": rng.choice(LEVELS), "order": rng.randint(0, 2)}
    return _toggled(rng, made, "capture", "rules", rng.choice("rs"), rule)


def _grant(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    grant = {
        "match": rng.choice(({}, *_MATCHERS)), "level": rng.choice(LEVELS[2:]),
        "until": rng.choice((20, 50, 500)), "longest_s": rng.choice((10.0, 30.0, 400.0)),
    }  # fmt: skip
    return _toggled(rng, made, "capture", "grants", rng.choice("ghij"), grant)


def _granted(made: dict[str, Any], name: str) -> dict[str, Any]:
    """With a grant that a minute later is over."""
    grant = {"match": {}, "level": "full", "until": 50, "longest_s": 30.0}
    return merge(made, {"capture": {"grants": {name: grant}}})


def _cut(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    return merge(made, {"capture": {"max_chars": rng.choice((0, 64, 2000))}})


def _detector(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    off = {"enabled": False}
    choice = rng.choice((off, off, off, {"action": "hash"}, {"action": "drop"}))
    return _toggled(rng, made, "redaction", "detectors", "email", choice)


def _pattern(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    return _toggled(rng, made, "redaction", "patterns", "code", {"pattern": CODE_PATTERN})


def _allowed(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "redaction": {**made.get("redaction", {}), "allow": rng.choice(([], ["mq*"]))}}


def _sampled(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    sampling = {"ratio": rng.choice((1.0, 0.5, 0.001)), "keep": {"errors": True}}
    return merge(made, {"sampling": sampling})


def _named(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    return merge(made, {"conventions": {"genai": rng.choice(("1.36", "1.41"))}})


def _elsewhere(rng: random.Random, made: dict[str, Any]) -> dict[str, Any]:
    return {**made, "destinations": _destinations(rng)}


def _destinations(rng: random.Random) -> dict[str, Any]:
    names = rng.choice(("a", "a", "ab", "ab", "b"))
    return {name: _destination(rng) for name in names}


def _destination(rng: random.Random) -> dict[str, Any]:
    return {
        "endpoint": rng.choice(RECEIVERS),
        "compression": rng.choice(("none", "none", "gzip")),
        "timeout_s": 0.5,
        "signals": rng.choices((["traces", "metrics"], ["traces"], ["metrics"]), (6, 3, 1))[0],
    }


def _toggled(
    rng: random.Random, made: dict[str, Any], group: str, field: str, name: str, value: Any
) -> dict[str, Any]:
    entries = dict(made.get(group, {}).get(field, {}))
    if name in entries and rng.random() < 0.6:
        del entries[name]
    else:
        entries[name] = value
    return {**made, group: {**made.get(group, {}), field: entries}}


def _nothing(_: random.Random) -> tuple[Any, ...]:
    return ()


_MATCHERS: tuple[dict[str, Any], ...] = (
    {"model": "meta/*"},
    {"model": "x|acme/*"},
    {"session": "s1"},
)
_CHANGES = (
    _level, _level, _level, _part, _part, _rule, _grant, _grant, _cut, _detector, _pattern, _allowed,
    _sampled, _named, _elsewhere, _elsewhere,
)  # fmt: skip

_MORE: dict[str, Callable[[random.Random], tuple[Any, ...]]] = {
    "call": lambda r: (
        r.choice(MODELS),
        r.choice(("well", "well", "failed", "broken off")),
        _size(r),
    ),
    "begin": lambda r: (r.choice(MODELS), _size(r)),
    "end": lambda r: (r.choice(("well", "failed")),),
    "foreign": lambda r: (r.choice((True, True, False)),),
    "step": lambda r: (r.choice(("chain", "tool", "retriever")), r.random() < 0.3),
    "mode": lambda r: (r.choice(RECEIVERS), r.choice(("well", *MODES))),
    "tick": lambda r: (r.choice((5.0, 15.0, 60.0)), r.choice((None, None, -300.0, 300.0))),
    "fault": lambda r: (r.choice(("", "", "detector", "rendering", "levels")),),
}


def _size(rng: random.Random) -> int:
    """Words of filling, so that a request does not fit into the buffers of a connection."""
    return rng.choices((0, 40_000), (8, 1))[0]
