"""What counts as personal data or a secret: detectors from text to spans.

Each is linear in the length of the text, whatever the text: repeats are possessive or bounded,
and a run of characters is entered at its beginning only. Check digits (Luhn for cards, ISO 7064
for IBANs) keep order numbers and the like from being masked. Files inlined as base64 are taken out
whole: nobody can look inside.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

Span = tuple[int, int]


class Detector(NamedTuple):
    """A name, which is also the mask, and the spans it finds in a text.

    ``hint`` is a pattern (RE2) that matches every text in which something can be found, and few
    others: all hints together are looked for in one pass, so that most texts cost nothing more.
    """

    name: str
    hint: str
    find: Callable[[str], Iterator[Span]]


_EMAIL = re.compile(r"(?<![\w.%+'-])[\w.%+'-]++@[\w-]++(?:\.[\w-]++)++")
_DIGIT_RUN = re.compile(r"(?<!\d)\d(?:[ -]?\d)*+")
_DIGITS = re.compile(r"\d+")
_PHONE = re.compile(r"(?<![\w.+-])(?:\+|00)?\(?\d[\d ()./-]{5,30}\d(?!\w)")
_IPV4 = re.compile(
    r"(?<![\d.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)(?![\d]|\.\d)"
)
_IPV6 = re.compile(r"(?<![\w:.])[0-9A-Fa-f:]*+(?:\.\d{1,3}){0,3}(?!\w)")
_IBAN = re.compile(r"(?<![A-Za-z0-9])([A-Za-z]{2})\d{2}(?=[ -]?[A-Za-z0-9])")
_PEM = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_JWT = re.compile(r"(?<![\w-])eyJ[\w-]{5,}+\.[\w-]{5,}+(?:\.[\w-]++)?")
_BEARER = re.compile(r"(?i)\b(?:bearer|basic)\s{1,4}([A-Za-z0-9._~+/-]{16,}+=*+)")
_NAMED = re.compile(
    r"(?i)(?<![a-z0-9])(?:pass(?:word|wd|phrase)|secret|client[_-]secret|api[_-]?key|api[_-]?token"
    r"|access[_-]?(?:key|token)|auth[_-]?token|private[_-]?key)[\"']?\s{0,4}[:=]\s{0,4}[\"']?"
    r"([^\s\"',;}]{6,}+)"
)
_PREFIXED = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_](?:[a-z0-9]{2,10}[-_]){0,3}[A-Za-z0-9_-]{16,}+"
    r"|(?:r8|hf|gh[pousr]|npm)_[A-Za-z0-9]{16,}+|llmo_[\w-]{16,}+|github_pat_\w{20,}+|gsk_\w{20,}+"
    r"|glpat-[\w-]{16,}+|xox[abeoprs]-[\w-]{10,}+|pypi-[\w-]{20,}+|xai-[\w-]{20,}+"
    r"|A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])|AIza[\w-]{35}|ya29\.[\w-]{20,}+"
    r"|SG\.[\w-]{16,}+\.[\w-]{16,}+)"
)

_OPAQUE = re.compile(
    r"data:[\w/+.-]{0,80}(?:;[\w=.-]{1,80}){0,4},[\w+/%=-]++|(?<![\w+/-])[A-Za-z0-9+/_-]{512,}+={0,2}"
)
# Length of an IBAN by country (ISO 13616 registry).
_IBANS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 "
    "IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 "
    "MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 "
    "SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_LENGTHS = {code[:2]: int(code[2:]) for code in _IBANS.split()}
_CARD = re.compile(r"(?:3[04-9]|4|5[0-8]|6|2[2-7])\d+")


def _matches(pattern: re.Pattern[str], group: int = 0) -> Callable[[str], Iterator[Span]]:
    return lambda text: (match.span(group) for match in pattern.finditer(text))


def _emails(text: str) -> Iterator[Span]:
    return _matches(_EMAIL)(text) if "@" in text else iter(())


def luhn(digits: str) -> bool:
    """Whether the check digit of a card number fits (ISO/IEC 7812)."""
    odd, even = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(sum(divmod(2 * int(d), 10)) for d in even)) % 10 == 0


def _cards(text: str) -> Iterator[Span]:
    for run in _DIGIT_RUN.finditer(text):
        if run.end() - run.start() >= 13:
            groups = [
                (match.group(), run.start() + match.start(), run.start() + match.end())
                for match in _DIGITS.finditer(run.group())
            ]
            yield from _cards_in(groups)


def _cards_in(groups: list[tuple[str, int, int]]) -> Iterator[Span]:
    """A card is a row of whole groups; what stands before or after it is no part of it."""
    index = 0
    while index < len(groups):
        last = _card_from(groups, index)
        if last is not None:
            yield groups[index][1], groups[last][2]
            index = last
        index += 1


def _card_from(groups: list[tuple[str, int, int]], first: int) -> int | None:
    if groups[first][0][0] not in "23456":
        return None
    digits = ""
    for last in range(first, min(first + 19, len(groups))):
        digits += groups[last][0]
        if len(digits) > 19:
            return None
        if len(digits) >= 13 and _CARD.fullmatch(digits) and luhn(digits):
            return last
    return None


def _ibans(text: str) -> Iterator[Span]:
    position = 0
    while head := _IBAN.search(text, position):
        end = _iban_end(text, head.start(), _IBAN_LENGTHS.get(head[1].upper(), 0))
        if end:
            yield head.start(), end
        position = end or head.end()


def _iban_end(text: str, start: int, length: int) -> int:
    """Where an IBAN of this length ends, or 0 if its check digits do not fit."""
    characters, position = "", start
    while len(characters) < length and position < len(text):
        char = text[position]
        if char.isascii() and char.isalnum():
            characters += char
        elif char not in " -" or text[position - 1] in " -":
            return 0
        position += 1
    whole = len(characters) == length > 0 and not text[position : position + 1].isalnum()
    return position if whole and _mod_97(characters) == 1 else 0


def _mod_97(iban: str) -> int:
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97


def _phones(text: str) -> Iterator[Span]:
    for match in _PHONE.finditer(text):
        if _is_phone(match.group()):
            yield match.span()


_NORTH_AMERICA = re.compile(r"(?:1[ .-])?\(?\d{3}\)?[ .-]{0,2}\d{3}[ .-]\d{4}")
_NATIONAL = re.compile(r"\(?0[1-9]\d{0,4}\)?[ /-].*|\(?0[1-9](?: \d\d){4}")


def _is_phone(text: str) -> bool:
    """International, North American, or with a trunk 0 and a separator."""
    digits = sum(map(str.isdigit, text))
    if text.startswith(("+", "00", "(+")):
        return 7 <= digits <= 15
    if _NORTH_AMERICA.fullmatch(text):
        return True
    return 9 <= digits <= 12 and _NATIONAL.fullmatch(text) is not None


def _ipv6(text: str) -> Iterator[Span]:
    if "::" not in text and text.count(":") < 7:
        return
    for match in _IPV6.finditer(text):
        found = match.group()
        if found.count(":") > 1 and any(map(str.isdigit, found)) and _is_ipv6(found):
            yield match.span()


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _private_keys(text: str) -> Iterator[Span]:
    position = 0
    while head := _PEM.search(text, position):
        tail = text.find("-----END", head.end())
        close = text.find("-----", tail + 8) if tail >= 0 else -1
        position = close + 5 if close >= 0 else len(text)
        yield head.start(), position


_KEYS = r"(?:sk|pk|rk)[-_]|(?:r8|hf|gh[pousr]|npm)_|llmo_|github_pat_|gsk_|glpat-|xox[abeoprs]-"
_MORE_KEYS = r"|pypi-|xai-|AKIA|ASIA|AIza|ya29\.|SG\."
_NAMES = r"(?is)(?:pass(?:word|wd|phrase)|secret|key|token)[\"']?.{0,4}[:=]"

DETECTORS: tuple[Detector, ...] = (
    Detector("media", r"data:|[A-Za-z0-9+/_-]{64}", _matches(_OPAQUE)),
    Detector("secret", r"-----BEGIN", _private_keys),
    Detector("secret", r"eyJ[\pL\pN_-]", _matches(_JWT)),
    Detector("secret", _KEYS + _MORE_KEYS, _matches(_PREFIXED)),
    Detector("secret", r"(?i)(?:bearer|basic)[^A-Za-z]", _matches(_BEARER, 1)),
    Detector("secret", _NAMES, _matches(_NAMED, 1)),
    Detector("email", r"@[\pL\pN_-]", _emails),
    Detector("iban", r"[A-Za-z]{2}\p{Nd}{2}[ -]?[A-Za-z0-9]", _ibans),
    Detector("card", r"\p{Nd}(?:[ -]?\p{Nd}){12}", _cards),
    Detector("ip", r"\p{Nd}\.\p{Nd}{1,3}\.\p{Nd}", _matches(_IPV4)),
    Detector("ip", r":[0-9A-Fa-f]{0,4}:", _ipv6),
    Detector("phone", r"\p{Nd}[\p{Nd} ()./-]{5,}\p{Nd}", _phones),
)
"""The built-in detectors, which level ``redacted`` runs."""
