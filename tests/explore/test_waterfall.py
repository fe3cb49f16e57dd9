"""Pictures as HTML: whole, escaped, bounded."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from llm_observe.explore import Traces
from llm_observe.explore.views import Session, Trace
from llm_observe.explore.waterfall import MAX_ROWS, render, rows

OPEN_ENDED = {"rect", "br"}


def span(number: int, parent: int | None = None, **values: Any) -> dict[str, Any]:
    return {
        "trace_id": "t", "span_id": str(number), "parent_id": "" if parent is None else str(parent),
        "name": f"span {number}", "kind": "span", "offset_ms": 0.0, "duration_ms": 1.0, "status": "ok",
    } | values  # fmt: skip


class Balanced(HTMLParser):
    """Collects tags that are opened and closed, and all text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Balanced:
    parser = Balanced()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    return parser


@given(st.text(max_size=40), st.text(max_size=40))
def test_outside_text_never_becomes_markup(name: str, content: str) -> None:
    call = span(
        1, name=f"<b>{name}", kind="llm", service=f"<script>{name}", model=f'"><i>{content}',
        input=[{"role": "<u>", "content": f"<img src=x>{content}"}], output=[], output_text="",
    )  # fmt: skip
    for html in (render([call]), Session("s", [Trace("t", [call])])._repr_html_()):
        assert parsed(html).open == []
        assert not {"<b>", "<script>", "<i>", "<u>", "<img"} & {
            tag for tag in ("<b>", "<script>", "<i>", "<u>", "<img") if tag in html
        }


def test_a_seeded_trace_is_drawn_with_its_parts(traces: Traces) -> None:
    html = traces.trace(f"{30:032x}")._repr_html_()
    text = parsed(html).text
    assert "queue and cold start: 40 ms" in text
    assert "question <29>" in text
    assert "first token after 200 ms" in text


def test_a_call_without_content_names_the_level_that_hid_it(traces: Traces) -> None:
    html = traces.trace(f"{1:032x}")._repr_html_()
    assert "capture.level was metadata" in parsed(html).text


def test_children_stand_below_their_parents_and_orphans_on_top() -> None:
    spans = [span(1), span(2, 1), span(3, 2), span(4, 99), span(5, 1)]
    assert [(depth, s["span_id"]) for depth, s in rows(spans)] == [
        (0, "1"), (1, "2"), (2, "3"), (1, "5"), (0, "4"),
    ]  # fmt: skip


def test_spans_that_are_each_others_parents_are_drawn_once() -> None:
    assert sorted(s["span_id"] for _, s in rows([span(1, 2), span(2, 1)])) == ["1", "2"]


def test_a_deep_trace_is_drawn() -> None:
    spans = [span(0), *(span(n, n - 1) for n in range(1, 3000))]
    assert rows(spans)[-1][0] == 2999
    assert f"{3000 - MAX_ROWS:,} more spans are not drawn" in render(spans)


def test_no_spans_is_no_error() -> None:
    assert "no spans" in render([])
    assert "no turns" in Session("s", [])._repr_html_()
    assert "no model call" in Trace("t", [span(1)]).why()
