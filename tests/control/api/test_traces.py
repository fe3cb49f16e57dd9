from __future__ import annotations

import json

import httpx
import pytest

pytestmark = pytest.mark.anyio

TRACE = "0af7651916cd43dd8448eb211c80319c"


def request(session: str = "s1") -> dict[str, object]:
    """One LLM span as OTLP/JSON."""
    attributes = [
        {"key": "openinference.span.kind", "value": {"stringValue": "LLM"}},
        {"key": "llm.model_name", "value": {"stringValue": "llama"}},
        {"key": "session.id", "value": {"stringValue": session}},
    ]
    span = {
        "traceId": TRACE, "spanId": "b7ad6b7169203331", "name": "replicate.run", "kind": 3,
        "startTimeUnixNano": "1795500000000000000", "endTimeUnixNano": "1795500001000000000",
        "attributes": attributes,
    }  # fmt: skip
    service = {"key": "service.name", "value": {"stringValue": "chat"}}
    return {
        "resourceSpans": [
            {"resource": {"attributes": [service]}, "scopeSpans": [{"spans": [span]}]}
        ]
    }


@pytest.fixture
async def stored(api: httpx.AsyncClient) -> httpx.AsyncClient:
    headers = {"content-type": "application/json"}
    answer = await api.post("/v1/traces", content=json.dumps(request()), headers=headers)
    assert answer.status_code == 200
    return api


async def test_a_span_that_was_taken_in_is_listed_and_shown(stored: httpx.AsyncClient) -> None:
    listed = (await stored.get("/api/v1/traces", params={"model": "llama"})).json()
    assert [t["trace_id"] for t in listed["items"]] == [TRACE]
    trace = (await stored.get(f"/api/v1/traces/{TRACE}")).json()
    assert [s["name"] for s in trace["spans"]] == ["replicate.run"]
    assert trace["total"] == 1
    rows = (await stored.get("/api/v1/spans", params={"columns": "trace_id,name"})).json()
    assert rows["items"] == [{"trace_id": TRACE, "name": "replicate.run"}]
    assert (await stored.get("/api/v1/facets")).json()["services"] == ["chat"]
    sessions = (await stored.get("/api/v1/sessions")).json()
    assert [s["session"] for s in sessions["items"]] == ["s1"]


async def test_filters_leave_out_what_does_not_fit(stored: httpx.AsyncClient) -> None:
    for params in ({"service": "x"}, {"error": "true"}, {"min_duration_ms": 5000}):
        assert (await stored.get("/api/v1/traces", params=params)).json()["items"] == []


async def test_a_session_is_deleted_with_its_content(stored: httpx.AsyncClient) -> None:
    assert (await stored.delete("/api/v1/sessions/s1")).json() == {"deleted": 1}
    assert (await stored.get("/api/v1/traces")).json()["items"] == []
    assert (await stored.delete("/api/v1/sessions/s1")).status_code == 404


async def test_a_series_answers_with_the_last_hour(api: httpx.AsyncClient) -> None:
    answer = await api.get("/api/v1/series", params={"metric": "calls"})
    assert answer.status_code == 200
    assert isinstance(answer.json(), list)


@pytest.mark.parametrize(
    ("path", "params", "status"),
    [
        ("/traces", {"servce": "a"}, 422),
        ("/traces", {"since": "yesterday"}, 422),
        ("/traces", {"since": "nan"}, 422),
        ("/traces", {"limit": "0"}, 422),
        ("/traces", {"cursor": "?"}, 400),
        ("/spans", {"columns": "nothing"}, 400),
        ("/spans", {"limit": "5001"}, 422),
        ("/series", {}, 422),
        ("/series", {"metric": "love"}, 422),
        ("/series", {"metric": "calls", "since": "0", "until": "4e9", "step": "1"}, 400),
        ("/traces/xyz", {}, 404),
        (f"/traces/{TRACE}", {}, 404),
    ],
)
async def test_a_wrong_question_is_a_problem_document(
    api: httpx.AsyncClient, path: str, params: dict[str, str], status: int
) -> None:
    answer = await api.get(f"/api/v1{path}", params=params)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def scored(value: float) -> dict[str, object]:
    """A score of the span in `request`, as it arrives later."""
    body = request()
    span = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]  # type: ignore[index]  # made above
    link = {"traceId": span["traceId"], "spanId": span["spanId"]}
    said = {"name": {"stringValue": "helpful"}, "score": {"doubleValue": value},
            "explanation": {"stringValue": "since"}}  # fmt: skip
    span |= {"spanId": "aaaaaaaaaaaaaaaa", "parentSpanId": span["spanId"], "name": "score"}
    span["links"] = [link]
    span["attributes"] = [
        {"key": f"annotations.0.annotation.{key}", "value": text} for key, text in said.items()
    ]
    return body


async def test_scores_are_returned_with_traces_and_by_themselves(stored: httpx.AsyncClient) -> None:
    assert (await stored.get("/api/v1/scores")).json() == {
        "items": [],
        "next": None,
        "partial": False,
    }
    headers = {"content-type": "application/json"}
    await stored.post("/v1/traces", content=json.dumps(scored(0.5)), headers=headers)
    (line,) = (await stored.get("/api/v1/scores", params={"name": "helpful"})).json()["items"]
    assert (line["value"], line["trace_id"], line["model"]) == (0.5, TRACE, "llama")
    (summary,) = (await stored.get("/api/v1/traces", params={"score": "helpful"})).json()["items"]
    assert summary["scores"] == [{"name": "helpful", "value": 0.5, "label": "", "count": 1}]
    call, carrier = (await stored.get(f"/api/v1/traces/{TRACE}")).json()["spans"]
    assert (call["scores"][0]["value"], call["scores"][0]["explanation"]) == (0.5, "since")
    assert carrier["feedback"] is True
    columns = {"columns": "name,scores"}
    items = (await stored.get("/api/v1/spans", params=columns)).json()["items"]
    assert {"name": "replicate.run", "scores": {"helpful": 0.5}} in items
    assert (await stored.get("/api/v1/facets")).json()["scores"] == ["helpful"]
    for params in ({"score_max": "0.4"}, {"score": "other"}, {"score_label": "x"}):
        assert (await stored.get("/api/v1/traces", params=params)).json()["items"] == []


async def test_odd_questions_about_scores_are_refused(stored: httpx.AsyncClient) -> None:
    for path, params in (
        ("/api/v1/scores", {"limit": "0"}),
        ("/api/v1/scores", {"nmae": "x"}),
        ("/api/v1/scores", {"trace_id": "zz"}),
        ("/api/v1/traces", {"score_min": "nan"}),
    ):
        assert (await stored.get(path, params=params)).status_code == 422
    assert (await stored.get("/api/v1/scores", params={"cursor": "x"})).status_code == 400
