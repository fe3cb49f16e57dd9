import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm_observe.policy.detectors import DETECTORS, UNUSUAL, plain
from llm_observe.policy.finding import Detector, Shape
from llm_observe.policy.numbers import luhn
from llm_observe.policy.prefilter import compiled, prefilter
from llm_observe.policy.rules import default, usual

redact_text = default().text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N"
PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nAAA=\n-----END RSA PRIVATE KEY-----"


FOUND = [
    ("mail joe@example.com.", "mail [email]."),
    ("<Joe.O'Neil+x@mail.example.co.uk>", "<[email]>"),
    ("jörg@müller.de", "[email]"),
    (f"{'a' * 80}@example.com", "[email]"),
    ("call +49 30 1234567 now", "call [phone] now"),
    ("call +1-555-123-4567", "call [phone]"),
    ("(555) 123-4567", "[phone]"),
    ("555-123-4567", "[phone]"),
    ("0049 30 123456", "[phone]"),
    ("030/1234567", "[phone]"),
    ("01 23 45 67 89", "[phone]"),
    ("card 4111 1111 1111 1111!", "card [card]!"),
    ("4111-1111-1111-1111", "[card]"),
    ("378282246310005", "[card]"),
    ("order 12 4111 1111 1111 1111 34", "order 12 [card] 34"),
    ("4111111111111111 5555555555554444", "[card] [card]"),
    ("IBAN DE89 3704 0044 0532 0130 00 AND more", "IBAN [iban] AND more"),
    ("gb82west12345698765432", "[iban]"),
    ("from 10.0.0.1, to 192.168.100.200.", "from [ip], to [ip]."),
    ("at 2001:db8::8a2e:370:7334 today", "at [ip] today"),
    ("at fe80:0:0:0:1:2:3:4.", "at [ip]."),
    ("::ffff:192.0.2.128", "[ip]"),
    ("key sk-proj-abcdefghijklmnop1234", "key [secret]"),
    ("r8_abcdefghijklmnop1234567890ABCDEFGHIJKLM", "[secret]"),
    ("hf_abcdefghijklmnop1234", "[secret]"),
    ("ghp_abcdefghijklmnop1234567890abcdefghij", "[secret]"),
    ("llmo_ingest_abc-DEF_0123456789", "[secret]"),
    ("AKIAIOSFODNN7EXAMPLE", "[secret]"),
    ("Authorization: Bearer abcdef.ghijkl-mnopqr=", "Authorization: Bearer [secret]"),
    ("password=hunter2!", "password=[secret]"),
    ('"api_key": "abc123def456"', '"api_key": "[secret]"'),
    (f"token {JWT}.", "token [secret]."),
    (f"a {PEM} b", "a [secret] b"),
    ("see data:image/png;base64,iVBORw0KGgo= here", "see [media] here"),
    (f'{{"data": "{"iVBORw0K" * 100}=="}}', '{"data": "[media]"}'),
    ("-----BEGIN PRIVATE KEY-----\nMIIE cut off", "[secret]"),
    ("电话１３８１２３４５６７８。", "电话[phone]。"),
    ("at ١٩٢.١٦٨.١٠.٢٠ now", "at [ip] now"),
    ("card 6222 0212 3456 7890 128", "card [card]"),
]


@pytest.mark.parametrize(("text", "masked"), FOUND)
def test_it_is_found(text: str, masked: str) -> None:
    assert redact_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "on 2024-11-24 at 12:30:45",
        "3.14159 and 1,000,000 and 1234567890",
        "4111 1111 1111 1112",  # the check digit is wrong
        "DE88 3704 0044 0532 0130 00",  # so are these
        "order 1700000000000000001",
        "std::vector and a::b",
        "300.1.2.3",
        "e-mail me @home",
        "task-force and risk-averse",
        "meta/llama-2-7b-chat:02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3",
        "The password is long.",
        "temperature 0.75, top_p 0.9, top_k 50",
        "",
    ],
)
def test_it_is_left_alone(text: str) -> None:
    assert redact_text(text) == text


N = 400_000
HOSTILE = {
    "one run": "a" * N,
    "data": "data:" * N,
    "data, options": "data:" + ";a" * N,
    "almost base64": ("a" * 511 + " ") * (N // 512),
    "at signs": "a@" * N,
    "at sign, labels": "a@" + "b." * N,
    "dots": "a." * N,
    "digits": "1" * N,
    "digits apart": "1 " * N,
    "cards": "4111 " * N,
    "phones": "+1-" * N,
    "brackets": "(0" * N,
    "colons": ":1" * N,
    "double colons": "::" * N,
    "addresses": "1." * N,
    "ibans": "DE89 " * N,
    "ibans without blanks": "DE89" * N,
    "keys": "sk-" * N,
    "keys of digits": "sk-a1-" * N,
    "jwt": "eyJaaaaaa." * (N // 5),
    "jwt heads": "eyJ" * N,
    "pem heads": "-----BEGIN PRIVATE KEY----- " * (N // 20),
    "pem dashes": "-" * N,
    "bearer": "bearer " * N,
    "bearer blanks": "bearer" + " " * N,
    "names": "password" * N,
    "names, blanks": ("password" + " " * 50) * (N // 50),
    "names, signs": "secret=" * N,
}


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_hostile_text_takes_no_more_than_linear_time(text: str) -> None:
    """A quadratic detector would need more than 10**11 steps here and never come back."""
    for detector in DETECTORS:
        for _ in detector.find(text):
            pass


def test_luhn() -> None:
    assert luhn("79927398713")
    assert not any(luhn(f"7992739871{d}") for d in "012456789")


HINTS = prefilter([detector.hint for detector in DETECTORS])
PIECES = st.sampled_from(
    [
        "a@b.c",
        "１３8 ",
        "+49 30 ",
        "1234 ",
        "4111",
        "::",
        ".1",
        "key",
        "Token",
        "=",
        ": ",
        "bearer\xa0",
        "sk-",
        "é",
        "中",
    ]
    + [text for text, _ in FOUND]
)


TEXTS = st.lists(PIECES | st.text(max_size=3), max_size=6).map("".join)


@given(TEXTS)
def test_a_hint_matches_wherever_something_is_found(text: str) -> None:
    hinted = set(HINTS(text))
    for number, detector in enumerate(DETECTORS):
        assert isinstance(detector.find, Shape)
        if any(True for _ in detector.find.everywhere(text)):
            assert number in hinted, detector


@given(TEXTS, st.text(string.ascii_letters + " .中", max_size=40))
def test_looking_around_hints_finds_what_looking_everywhere_finds(text: str, far: str) -> None:
    whole = f"{far}{text}{far}"
    for detector in usual():
        assert isinstance(detector.find, Shape)
        assert list(detector.find(whole)) == list(detector.find.everywhere(whole)), detector


@pytest.mark.parametrize("detector", usual(), ids=lambda detector: detector.name)
def test_a_hint_is_read_by_both_engines(detector: Detector) -> None:
    assert compiled(detector.hint).pattern == re.compile(detector.hint).pattern


@given(st.text())
def test_a_text_in_ascii_is_as_long_as_before(text: str) -> None:
    assert len(plain(text)) == len(text)
    if re.search(UNUSUAL, text) is None:
        assert [c for c in plain(text) if c.isdigit()] == [c for c in text if c.isdigit()] or any(
            c.isdigit() and not c.isdecimal() for c in text
        )


@given(
    st.lists(
        st.sampled_from([*"0123456789 ()./-+", "+49", "00", "555", " 030", "4155 "]), max_size=40
    ).map("".join)
)
def test_rows_of_digits_are_told_apart_as_if_they_were_looked_at_everywhere(text: str) -> None:
    for detector in usual():
        if detector.name in ("phone", "iban", "card"):
            assert isinstance(detector.find, Shape)
            found = list(detector.find(f"a {text} b"))
            assert found == list(detector.find.everywhere(f"a {text} b")), detector
            hinted = prefilter([detector.hint])(f"a {text} b")
            assert hinted or not found
