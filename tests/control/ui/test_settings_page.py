from __future__ import annotations

import re

import pytest

from tests.control.ui.conftest import Browser
from tests.control.ui.seed import CHATBOT, WORKER, World

pytestmark = pytest.mark.anyio


async def test_a_form_makes_a_version_and_shows_how_far_it_came(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    answer = await browser.submit("/settings", form="sampling", ratio="0.5", author="Ada")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/settings?service=&version=1#progress"
    page = await browser.text("/settings?version=1")
    assert "Version 1: 0 of 1 acknowledged" in page
    assert "every 1s" in page
    await here.take(CHATBOT)
    part = await browser.text("/history/1/progress")
    assert "is acknowledged by its one agent" in part
    assert "hx-trigger" not in part.split("<ul")[0]  # a final answer asks no more
    assert 'value="0.5"' in await browser.text("/settings")


async def test_progress_tells_the_refusal_of_each_key_and_that_nothing_changed(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    await browser.submit("/settings", form="destination", name="p", endpoint="http://127.0.0.1:1")
    await here.refuse(
        CHATBOT, "destinations.p.endpoint: found no answer, expected an OTLP endpoint"
    )
    part = await browser.text("/history/1/progress")
    assert "was refused" in part
    assert "found <b>no answer</b>, expected an OTLP endpoint" in part
    assert "What held before holds on." in part


async def test_progress_says_who_is_offline(here: World, browser: Browser) -> None:
    await here.app(CHATBOT, "bot")
    await here.leave(CHATBOT)
    await browser.submit("/settings", form="sampling", ratio="0")
    assert "It gets this version when it connects again." in await browser.text(
        "/history/1/progress"
    )


@pytest.mark.parametrize("ratio", ["1.5", "-1", "half", "nan"])
async def test_a_wrong_ratio_stays_in_its_field_beside_what_was_expected(
    here: World, browser: Browser, ratio: str
) -> None:
    answer = await browser.submit("/settings", form="sampling", ratio=ratio, comment="kept words")
    assert answer.status_code == 422
    assert f'value="{ratio}"' in answer.text
    assert "aria-invalid=true" in answer.text
    assert "Nothing was changed." in answer.text
    assert 'value="kept words"' in answer.text
    assert (await here.service.settings()).version is None


async def test_recording_more_is_shown_before_it_is_sent(here: World, browser: Browser) -> None:
    await here.app(CHATBOT, "bot")
    fields = {"form": "capture", "level": "full", "comment": "debugging"}
    asked = await browser.submit("/settings?service=bot", **fields)
    assert "This records more than now" in asked.text
    assert "1 connected agent" in asked.text
    assert (await here.service.settings("bot")).version is None
    again = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', asked.text))
    assert again == {**fields, "confirm": "yes"}
    assert (await browser.submit("/settings?service=bot", **again)).status_code == 303
    assert (await here.service.settings("bot")).document == {"capture": {"level": "full"}}


async def test_recording_less_needs_no_second_question(here: World, browser: Browser) -> None:
    await here.app(CHATBOT, "bot")
    assert (await browser.submit("/settings", form="capture", level="off")).status_code == 303


async def test_a_literal_secret_is_refused_and_never_shown(here: World, browser: Browser) -> None:
    answer = await browser.submit(
        "/settings", form="destination", name="p", endpoint="http://127.0.0.1:6006",
        header_name="authorization", header_value="Bearer hunter2",
    )  # fmt: skip
    assert answer.status_code == 422
    assert "a reference: env:NAME or file:/PATH" in answer.text
    assert (await here.service.settings()).version is None
    history = await browser.text("/history")
    assert "hunter2" not in history


async def test_a_refused_new_destination_keeps_what_was_typed(browser: Browser) -> None:
    answer = await browser.submit(
        "/settings", form="destination", name="phoenix", endpoint="phoenix:6006", timeout_s="7"
    )
    assert answer.status_code == 422
    assert 'value="phoenix:6006"' in answer.text
    assert 'value="7"' in answer.text
    assert 'id="e-endpoint-new"' in answer.text


async def test_destinations_are_changed_and_removed(here: World, browser: Browser) -> None:
    await browser.submit(
        "/settings", form="destination", name="p", endpoint="http://127.0.0.1:6006",
        header_name="authorization", header_value="env:KEY", signals=["traces", "metrics"],
    )  # fmt: skip
    await browser.submit("/settings", form="destination", name="p", endpoint="http://127.0.0.1:7",
                         enabled="false")  # fmt: skip
    document = (await here.service.settings()).document
    assert document == {"destinations": {"p": {"endpoint": "http://127.0.0.1:7", "enabled": False}}}
    await browser.submit("/settings", form="remove", name="p")
    assert (await here.service.settings()).document == {}


async def test_a_destination_over_grpc_shows_its_protocol_and_keeps_it(
    here: World, browser: Browser
) -> None:
    await browser.submit(
        "/settings", form="destination", name="p", endpoint="http://127.0.0.1:4317", protocol="grpc"
    )
    document = (await here.service.settings()).document
    assert document["destinations"]["p"]["protocol"] == "grpc"
    page = await browser.text("/settings")
    assert "http://127.0.0.1:4317, grpc" in page
    assert "<option selected>grpc</option>" in page
    answer = await browser.submit(
        "/settings", form="destination", name="p", endpoint="http://127.0.0.1:4317/v1/traces",
        protocol="grpc",
    )  # fmt: skip
    assert answer.status_code == 422
    assert "a URL without a path" in answer.text


@pytest.mark.parametrize("protocol", ["file", "console"])
async def test_a_destination_beside_the_app_is_still_one_after_its_card_was_saved(
    here: World, browser: Browser, protocol: str
) -> None:
    keys = {"protocol": protocol, "path": "/var/log/app/spans.jsonl"}
    await browser.submit("/settings", form="destination", name="p", **keys)
    assert (await here.service.settings()).document["destinations"]["p"] == keys
    page = await browser.text("/settings")
    assert f"<option selected>{protocol}</option>" in page
    assert 'value="/var/log/app/spans.jsonl"' in page


async def test_the_release_of_the_conventions_is_chosen_and_unset(
    here: World, browser: Browser
) -> None:
    await browser.submit("/settings", form="conventions", genai="1.36")
    assert (await here.service.settings()).document == {"conventions": {"genai": "1.36"}}
    assert 'value="1.36" checked' in await browser.text("/settings")
    refused = await browser.submit("/settings", form="conventions", genai="1.42")
    assert refused.status_code == 422
    assert "expected one of" in refused.text
    await browser.submit("/settings", form="conventions", genai="")
    assert (await here.service.settings()).document == {}


async def test_destinations_of_the_app_can_be_switched_off_from_here(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    page = await browser.text("/settings?service=bot")
    assert "control-plane" in page
    assert "set in the app itself" in page


async def test_the_whole_document_as_text(here: World, browser: Browser) -> None:
    text = "sampling:\n  ratio: 0.25\n"
    answer = await browser.submit("/settings", form="text", base="", text=text)
    assert answer.status_code == 303
    assert (await here.service.settings()).document == {"sampling": {"ratio": 0.25}}
    assert "ratio: 0.25" in await browser.text("/settings")


async def test_wrong_text_is_kept_with_one_line_for_each_key(browser: Browser) -> None:
    text = "sampling:\n  ratio: 7\nsampel: 1\n"
    answer = await browser.submit("/settings", form="text", base="", text=text)
    assert answer.status_code == 422
    assert "ratio: 7" in answer.text
    assert "<code>sampling.ratio</code>" in answer.text
    assert "<code>sampel</code>" in answer.text


async def test_an_editor_opened_before_another_change_does_not_overwrite_it(
    here: World, browser: Browser
) -> None:
    await here.change(set={"sampling.ratio": 0.5}, author="Grace")
    answer = await browser.submit("/settings", form="text", base="", text="capture: {level: off}")
    assert answer.status_code == 422
    assert "version 1 stored meanwhile" in answer.text
    assert "capture: {level: off}" in answer.text
    assert (await here.service.settings()).version == 1


async def test_a_change_of_nothing_makes_no_version(here: World, browser: Browser) -> None:
    await here.change(set={"sampling.ratio": 0.5})
    answer = await browser.submit("/settings", form="sampling", ratio="0.5")
    assert "Nothing differs" in answer.text
    assert (await here.service.settings()).version == 1


async def test_settings_of_one_service_are_apart_from_those_for_all(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    await here.app(WORKER, "worker")
    await browser.submit("/settings?service=bot", form="sampling", ratio="0")
    assert (await here.service.settings("bot")).document == {"sampling": {"ratio": 0.0}}
    assert (await here.service.settings()).document == {}
    page = await browser.text("/settings?service=bot")
    assert "Settings of bot" in page
    assert "In force: 100 % on 1 agent" in page


async def test_a_page_of_another_origin_changes_nothing(here: World, browser: Browser) -> None:
    for path in ("/settings", "/history/1/undo", "/connect/tokens", f"/agents/{CHATBOT}/forget"):
        answer = await browser.post(
            path, data={"form": "sampling", "ratio": "0"}, headers={"origin": "http://evil.example"}
        )
        assert answer.status_code == 403
    assert (await here.service.settings()).version is None


async def test_a_form_that_does_not_exist_is_not_guessed(browser: Browser) -> None:
    assert (await browser.submit("/settings", form="everything")).status_code == 404


async def test_a_rule_is_added_changed_and_removed(here: World, browser: Browser) -> None:
    rule = {"form": "entry", "list": "sampling.rules", "name": "pay"}
    await browser.submit("/settings", **rule, **{"match.route": "/pay/*", "ratio": "1"})
    await browser.submit("/settings", **rule, **{"match.route": "/pay/*", "ratio": "0.5"})
    document = (await here.service.settings()).document
    assert document == {
        "sampling": {"rules": {"pay": {"match": {"route": "/pay/*"}, "ratio": 0.5}}}
    }
    assert "only route /pay/*; ratio 0.5" in await browser.text("/settings")
    await browser.submit("/settings", form="drop", list="sampling.rules", name="pay")
    assert (await here.service.settings()).document == {}


async def test_a_problem_stands_beside_its_field_and_what_was_typed_stays(
    here: World, browser: Browser
) -> None:
    for fields in (
        {"form": "part", "part": "sampling", "sampling.per_second": "0"},
        {"form": "entry", "list": "sampling.rules", "name": "new", "ratio": "7"},
    ):
        answer = await browser.submit("/settings", **fields)
        assert answer.status_code == 422
        errors = re.findall(r'id="e-([^"]+)">Found [07], expected', answer.text)
        assert len(errors) == 1
        assert f'aria-describedby="h-{errors[0]} e-{errors[0]}"' in answer.text
        assert "See the field below." in answer.text
    assert 'value="new"' in answer.text
    assert 'value="7"' in answer.text
    assert (await here.service.settings()).version is None


async def test_a_preview_shows_the_change_and_who_would_refuse_it_and_stores_nothing(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    await here.equip(CHATBOT, detectors=("email", "card"), instrumentors=("replicate",))
    rule = {
        "form": "entry", "list": "redaction.detectors", "name": "id-pl", "enabled": "true",
    }  # fmt: skip
    assert "The connected agents have card, email." in await browser.text("/settings")
    asked = await browser.submit("/settings", **rule, preview="yes")
    assert "1 agent will refuse it" in asked.text
    assert "redaction.detectors.id-pl (not among its detectors)" in asked.text
    assert (await here.service.settings()).version is None
    again = dict(re.findall(r'type="hidden" name="([\w.]+)" value="([^"]*)"', asked.text))
    assert again == {**rule, "confirm": "yes"}
    await browser.submit("/settings", **again)
    assert (await here.service.settings()).document == {
        "redaction": {"detectors": {"id-pl": {"enabled": True}}}
    }


async def test_a_destination_keeps_what_its_own_fields_do_not_show(
    here: World, browser: Browser
) -> None:
    where = {"form": "destination", "name": "p", "endpoint": "https://otlp.example.com"}
    await browser.submit("/settings", **where, ca="file:/etc/ca.pem", queue_items="100")
    assert (await here.service.settings()).document["destinations"]["p"] == {
        "endpoint": "https://otlp.example.com", "ca": "file:/etc/ca.pem", "queue_items": 100,
    }  # fmt: skip
    assert 'value="file:/etc/ca.pem"' in await browser.text("/settings")
    answer = await browser.submit("/settings", **where, ca="/etc/ca.pem")
    assert answer.status_code == 422
    assert "a PEM file: file:/PATH" in answer.text
    assert 'value="/etc/ca.pem"' in answer.text


async def test_an_agents_page_shows_its_detectors_and_instrumentors(
    here: World, browser: Browser
) -> None:
    await here.app(CHATBOT, "bot")
    assert "It reported no detectors." in await browser.text(f"/agents/{CHATBOT}")
    await here.equip(CHATBOT, detectors=("email", "id-cn"), instrumentors=("replicate",))
    page = await browser.text(f"/agents/{CHATBOT}")
    assert re.search(r"email</span>.*id-cn</span>", page, re.DOTALL)
    assert "replicate" in page


async def test_markup_in_names_and_values_stays_text(here: World, browser: Browser) -> None:
    name = "\"><script>alert('n')</script>"
    rule = {"form": "entry", "list": "capture.rules", "name": name}
    refused = await browser.submit("/settings", **rule, **{"match.user": name, "order": "x"})
    assert refused.status_code == 422
    asked = await browser.submit("/settings", **rule, **{"match.user": name}, preview="yes")
    await browser.submit("/settings", **rule, **{"match.user": name})
    pages = (refused.text, asked.text, await browser.text("/settings"))
    assert all("&lt;script&gt;" in page and "<script>alert" not in page for page in pages)
    drop = {"form": "drop", "list": "capture.rules", "name": name}
    asked = await browser.submit("/settings", **drop)  # without the rule more may be recorded
    assert "This records more than now" in asked.text
    await browser.submit("/settings", **drop, confirm="yes")
    assert (await here.service.settings()).document == {}
