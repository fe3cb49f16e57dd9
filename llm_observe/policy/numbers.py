"""Numbers of cards and accounts: found by shape, believed by their check digits."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llm_observe.policy.finding import Match, Shape, Span

_DIGITS = re.compile(r"[0-9]+")

# Length of an IBAN by country (ISO 13616 registry).
_IBANS = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HR21 HU28 IE22 "
    "IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 "
    "MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 "
    "SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_IBAN_LENGTHS = {code[:2]: int(code[2:]) for code in _IBANS.split()}

_CARD = re.compile(
    r"4\d{15}(?:\d{3})?|5[1-5]\d{14}|2[2-7]\d{14}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|35\d{14}"
    r"|6\d{15,18}|5[0678]\d{14,17}"
)
"""What the networks give out: first digits and lengths (ISO/IEC 7812)."""
_LONGEST_CARD = 19


def luhn(digits: str) -> bool:
    """Whether the check digit of a card number fits (ISO/IEC 7812)."""
    odd, even = digits[-1::-2], digits[-2::-2]
    return (sum(map(int, odd)) + sum(sum(divmod(2 * int(d), 10)) for d in even)) % 10 == 0


def _cards(run: Match) -> Iterator[Span]:
    """A card is a row of whole groups; what stands before or after it is no part of it."""
    groups = [
        (match.group(), match.start(), match.end())
        for match in _DIGITS.finditer(run.string, run.start(), run.end())
    ]
    index = 0
    while index < len(groups):
        last = _card_from(groups, index)
        if last is not None:
            yield groups[index][1], groups[last][2]
            index = last
        index += 1


def _card_from(groups: list[tuple[str, int, int]], first: int) -> int | None:
    """The last group of the longest card that begins with this group."""
    if groups[first][0][0] not in "23456":
        return None
    digits, found = "", None
    for last in range(first, min(first + _LONGEST_CARD, len(groups))):
        digits += groups[last][0]
        if len(digits) > _LONGEST_CARD:
            break
        if _CARD.fullmatch(digits) and luhn(digits):
            found = last
    return found


def _ibans(head: Match) -> Iterator[Span]:
    end = _iban_end(head.string, head.start(), _IBAN_LENGTHS.get(head[1].upper(), 0))
    if end:
        yield head.start(), end


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
    after = text[position : position + 1]
    whole = len(characters) == length > 0 and not (after.isascii() and after.isalnum())
    return position if whole and _mod_97(characters) == 1 else 0


def _mod_97(iban: str) -> int:
    return int("".join(str(int(char, 36)) for char in iban[4:] + iban[:4])) % 97


CARD = Shape(
    r"[0-9](?:[ -]?[0-9]){12,}", r"(?<![0-9])[0-9](?:[ -]?[0-9]){12,}+", before=1, spans=_cards
)
IBAN = Shape(
    rf"(?i)(?:{'|'.join(_IBAN_LENGTHS)})[0-9]{{2}}[ -]?[A-Z0-9]{{2}}",
    r"(?<![A-Za-z0-9])([A-Za-z]{2})[0-9]{2}(?=[ -]?[A-Za-z0-9]{2})",
    spans=_ibans,
)
