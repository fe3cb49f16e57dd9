"""``llm-observe trace ID``: one trace as a tree, with the reason why it was slow."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer
from rich.text import Text
from rich.tree import Tree

from llm_observe.cli import options
from llm_observe.cli.output import Format, clean, dump, duration, note, show
from llm_observe.cli.traces import verdict
from llm_observe.control.client import LONGEST_TRACE, ControlClient, Json
from llm_observe.errors import NotFound

app = typer.Typer()


@app.command()
def trace(
    trace_id: Annotated[
        str, typer.Argument(metavar="ID", help="Its id, or the beginning of a recent one.")
    ],
    server: options.Server = None,
    token: options.Token = None,
    output: options.Output = Format.TABLE,
) -> None:
    """Show one trace as a tree: timing, tokens, prompt and answer as far as they were recorded."""
    with options.connect(server, token) as client:
        spans = client.trace(full_id(client, trace_id))
    if output is not Format.TABLE:
        dump(spans, output)
        return
    show(tree(spans))
    if len(spans) == LONGEST_TRACE:
        note(f"These are the first {LONGEST_TRACE:,} spans of the trace; there may be more.")


def full_id(client: ControlClient, beginning: str) -> str:
    """A whole id as it is; a shorter one is looked for among the newest traces.

    Raises:
        NotFound: None of these begins so, or several do.
    """
    if len(beginning) == 32:
        return beginning
    matches = {
        t["trace_id"] for _, t in zip(range(200), client.traces(limit=100), strict=False)
        if t["trace_id"].startswith(beginning.lower())
    }  # fmt: skip
    if len(matches) == 1:
        return str(matches.pop())
    raise NotFound(f"{len(matches) or 'none'} of the newest traces begin with {beginning!r}")


def tree(spans: list[Json]) -> Tree:
    """The spans as a tree by parent; one whose parent is missing stands at the top.

    Spans that only carry scores are left out; scores stand at what they are about.
    """
    spans = [span for span in spans if not span.get("feedback")] or spans
    known = {span["span_id"] for span in spans}
    root = Tree(Text(f"trace {clean(spans[0]['trace_id'])}" if spans else "no spans"))
    children: dict[str, list[Json]] = {}
    for span in spans:
        parent = span.get("parent_id") or ""
        children.setdefault(parent if parent in known else "", []).append(span)
    _grow(root, children, "", depth=0)
    return root


def _grow(branch: Tree, children: dict[str, list[Json]], parent: str, depth: int) -> None:
    for span in children.get(parent, ()):
        twig = branch.add(_headline(span))
        for line in _details(span):
            twig.add(Text(clean(line), style="dim"))
        if depth < 50 and span["span_id"] != parent:
            _grow(twig, children, span["span_id"], depth + 1)


def _headline(span: Json) -> Text:
    bad = span.get("status") == "error"
    text = f"{span['name']}  {duration(span['duration_ms'])}  {span.get('model') or ''}"
    return Text(clean(text), style="bold red" if bad else "bold")


def _details(span: Json) -> Iterable[str]:
    if span.get("status") == "error":
        yield f"error: {span.get('error_type') or ''} {span.get('status_message') or ''}"
    for score in span.get("scores") or ():
        if score["latest"]:
            yield _score(score)
    timing = span.get("timing") or {}
    if slow := ", ".join(_parts(timing)):
        yield slow
    if span.get("tokens_total") is not None:
        yield f"tokens: {span.get('tokens_in')} in, {span.get('tokens_out')} out"
    for message in (*(span.get("input") or ()), *(span.get("output") or ())):
        yield f"{message['role']}: {message['content'][:2000]}"
    if span.get("kind") == "llm" and not span.get("input"):
        yield f"no content: capture.level was {span.get('capture_level') or 'unknown'}"


def _score(score: Json) -> str:
    who = " ".join(filter(None, (score.get("annotator", "").lower(), score.get("identifier"))))
    why = (score.get("explanation") or "")[:2000]
    label = f" ({score['label']})" if score.get("label") and score.get("value") is not None else ""
    line = f"score: {score['name']} {verdict(score)}{label}"
    return f"{line}{f', {who}' if who else ''}{f': {why}' if why else ''}"


_PARTS = (
    ("queue_ms", "queue"),
    ("prefill_ms", "to the first token"),
    ("generation_ms", "generation"),
)


def _parts(timing: Json) -> Iterable[str]:
    for key, word in _PARTS:
        if timing.get(key) is not None:
            yield f"{word} {duration(timing[key])}"
    if timing.get("tokens_per_s"):
        yield f"{timing['tokens_per_s']:.1f} tokens/s"
