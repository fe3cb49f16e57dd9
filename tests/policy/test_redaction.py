import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.policy.redaction import Redactor, Rule, Seen
from llm_observe.policy.rules import default, redactor, usual
from llm_observe.settings.model import PatternRule, Redaction

redact, redact_text = default().value, default().text

MAIL = "joe@example.com"


def test_strings_inside_nested_values_are_masked_and_the_rest_stays() -> None:
    value = {"a": [f"to {MAIL}", 1, 2.5, None, True], "b": {"c": (MAIL,)}}
    assert redact(value) == {"a": ["to [email]", 1, 2.5, None, True], "b": {"c": ("[email]",)}}


def test_json_text_stays_json_of_the_same_shape() -> None:
    text = json.dumps([{"role": "user", "parts": [{"type": "text", "content": f"I am {MAIL}"}]}])
    assert json.loads(redact(text)) == [
        {"role": "user", "parts": [{"type": "text", "content": "I am [email]"}]}
    ]


def test_escapes_in_json_hide_nothing() -> None:
    assert redact('{"a": "joe\\u0040example.com"}') == '{"a": "[email]"}'


def test_json_inside_json_is_opened() -> None:
    inner = json.dumps({"to": MAIL})
    assert redact(json.dumps({"arguments": inner})) == json.dumps(
        {"arguments": '{"to": "[email]"}'}
    )


def test_json_without_a_find_keeps_its_very_text() -> None:
    text = '{"a":1,   "b" : [ "x" ]}'
    assert redact(text) is text


def test_a_pattern_for_a_whole_text_is_found_in_json_too() -> None:
    for pattern in ("^[0-9]{6}$", r"\A[0-9]{6}\z", "(?m)^[0-9]{6}", "[0-9]{6}$"):
        settings = Redaction(patterns={"code": PatternRule(pattern=pattern)})
        own = redactor(settings, None).value
        assert own("123456") == "[code]"
        assert own('{"a": ["123456"]}') == '{"a": ["[code]"]}'


@pytest.mark.parametrize("between", ["\n", '"', "\t", "\\", "/", "é", "\u2028"])
def test_what_json_escapes_hides_nothing(between: str) -> None:
    for text in (f"see{between}{MAIL}{between}now", f"password{between}: {between}hunter2-abc"):
        for asciis in (True, False):
            written = json.dumps({"a": [text]}, ensure_ascii=asciis)
            assert json.loads(redact(written)) == {"a": [redact_text(text)]}


def test_names_are_masked_and_stay_apart() -> None:
    assert redact({MAIL: 1, "ann@example.com": 2}) == {"[email]": 1, "[email]#1": 2}


@pytest.mark.parametrize(
    "named", [{"password": "correct horse"}, {"密码": "北京欢迎你们大家"}, {"phone": "4155550132"}]
)
def test_a_name_tells_what_its_value_is(named: dict[str, str]) -> None:
    (name,) = named
    masked = "[phone]" if name == "phone" else "[secret]"
    assert redact(named) == {name: masked}
    assert json.loads(redact(json.dumps(named))) == {name: masked}
    assert redact({"max_tokens": "4096", "token": "none"}) == {
        "max_tokens": "4096",
        "token": "none",
    }


def test_a_card_written_as_a_number_is_masked() -> None:
    assert redact({"card": 4111111111111111, "n": 7}) == {"card": "[card]", "n": 7}


def test_text_in_bytes_is_masked_and_other_bytes_are_refused() -> None:
    assert redact(MAIL.encode()) == b"[email]"
    with pytest.raises(UnicodeDecodeError):
        redact(b"\xff\xfe\x00")


def test_what_cannot_be_walked_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot redact object"):
        redact([object()])
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RecursionError):
        redact(deep)
    with pytest.raises(RecursionError):
        redact("[" * 100_000 + json.dumps(MAIL) + "]" * 100_000)
    while isinstance(deep, list):  # taken apart step by step: so deep a value cannot be freed whole
        deep = deep.pop()


def test_overlapping_finds_become_one() -> None:
    assert redact_text(f"password={MAIL}") == "password=[secret]"


def test_the_order_of_finds_is_the_order_of_the_text() -> None:
    assert redact_text(f"{MAIL} 10.0.0.1 {MAIL}") == "[email] [ip] [email]"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(json_values)
def test_redacting_twice_changes_nothing_more(value: Any) -> None:
    once = redact(value)
    assert redact(once) == once


def _without(value: Any, secret: str) -> bool:
    return secret not in json.dumps(value, ensure_ascii=False)


@given(json_values, st.sampled_from([MAIL, "4111 1111 1111 1111", "r8_abcdefghijklmnop12345678"]))
def test_a_planted_secret_never_survives_at_any_depth(value: Any, secret: str) -> None:
    planted = {"a": [value, {"b": f"see {secret} ok"}], "json": json.dumps([value, secret])}
    assert _without(redact(planted), secret)


@given(st.lists(json_values, min_size=1, max_size=4))
def test_what_was_seen_before_is_masked_as_if_it_were_new(values: list[Any]) -> None:
    seen = Seen()
    planted = [{"password": f"{value} {MAIL}", f"{value}": [MAIL, value]} for value in values]
    for value in (*planted, json.dumps(planted), *planted):
        assert default().value(value, seen) == redact(value)


def test_a_text_is_looked_at_once_however_often_it_stands_in_a_span() -> None:
    looked: list[str] = []

    def find(text: str) -> Iterator[tuple[int, int]]:
        looked.append(text)
        return iter(())

    own, seen = Redactor([Rule("any", "hello", find)]), Seen()
    for value in ("hello you", ["hello you"], json.dumps({"role": "hello you"})):
        own.value(value, seen)
    assert looked == ["hello you"]


# ------------------------------------------------------------------------------------- the rules

RULES = {detector.name: Rule(*detector) for detector in usual()}
EMAIL, IP = RULES["email"], next(Rule(*detector) for detector in usual() if detector.name == "ip")


def test_a_keyed_hash_tells_equal_finds_and_is_no_find_itself() -> None:
    redactor = Redactor([EMAIL._replace(action="hash")], key=b"k")
    one = redactor.text(f"{MAIL} and {MAIL} and ann@example.com")
    first, second, third = one.split(" and ")
    assert first == second != third
    assert first.startswith("[email:")
    assert redactor.text(one) == one == default().text(one)
    assert Redactor([EMAIL._replace(action="hash")], key=b"other").text(MAIL) != first


@pytest.mark.parametrize("action", ["drop", "hash"])
def test_dropping_and_hashing_without_a_key_cost_the_whole_text(action: Any) -> None:
    redactor = Redactor([EMAIL._replace(action=action), IP])
    assert redactor.text(f"from 10.0.0.1 to {MAIL}") == "[dropped:email]"
    assert redactor.text("from 10.0.0.1") == "from [ip]"
    assert redactor.value({"a": MAIL, "b": "x"}) == {"a": "[dropped:email]", "b": "x"}


def test_a_find_that_costs_the_text_does_so_inside_another_one_too() -> None:
    rules = [Rule("all", ".", lambda text: iter([(0, len(text))])), EMAIL._replace(action="drop")]
    assert Redactor(rules).text(f"see {MAIL}") == "[dropped:email]"


def test_what_is_allowed_stays() -> None:
    redactor = Redactor([EMAIL, IP], allow=["*@example.org", "127.0.0.?"])
    text = "joe@example.org joe@example.com 127.0.0.1 10.0.0.1"
    assert redactor.text(text) == "joe@example.org [email] 127.0.0.1 [ip]"


def test_half_a_surrogate_pair_hides_nothing() -> None:
    assert default().text(f"\ud800 {MAIL}") == "\ud800 [email]"


def test_finds_are_told_each_once_for_the_whole_span() -> None:
    seen = Seen()
    for value in (f"to {MAIL}", json.dumps({"to": [MAIL, "ann@example.com"]}), {"a": (MAIL,)}):
        default().value(value, seen)
    assert seen.finds == {("email", MAIL), ("email", "ann@example.com")}
    own = redactor(Redaction(allow=("*@example.com",)), None)
    quiet = Seen()
    own.value(f"to {MAIL}", quiet)
    assert quiet.finds == set()
