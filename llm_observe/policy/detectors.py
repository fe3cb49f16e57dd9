"""What counts as personal data or a secret: detectors from text to spans.

Each is linear in the length of the text, whatever the text: repeats are possessive or bounded,
and a run of characters is entered at its beginning only. Check digits (Luhn for cards, ISO 7064
for IBANs) keep order numbers and the like from being masked. Files inlined as base64 are taken out
whole: nobody can look inside.

Letters and digits of other widths and scripts are read as ASCII before anything is looked for
(`plain`); Chinese text, which has no blanks, may touch a find on either side.
"""

from __future__ import annotations

import ipaddress
import re
import string

from llm_observe.policy import numbers, phones, secrets
from llm_observe.policy.finding import Detector, Match, Shape, detector, if_so

# Letters and digits of the scripts that put blanks between words, and names beside an address.
_W = r"A-Za-z0-9_\u00c0-\u1fff"
_LETTER = r"A-Za-z\u00c0-\u1fff"
_LOCAL = frozenset(string.ascii_letters + string.digits + "_.%+'-")

_EMAIL = Shape(
    r"@[^\s@.,;:]",
    rf"(?<![{_W}.%+'-])[.%+'-]*+([{_W}][{_W}.%+'-]*+@(?:[{_W}-]++\.)+[{_LETTER}][{_W}-]++)",
    run=lambda char: char in _LOCAL or "\u00c0" <= char <= "\u1fff",
    spans=if_so(lambda found: _is_address(found), 1),
)
_IPV4 = Shape(
    r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]",
    r"(?<![A-Za-z0-9_.])(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)\.){3}(?:25[0-5]|2[0-4]\d|1?\d?\d)"
    r"(?![A-Za-z0-9_]|\.\d)",
    before=2,
    spans=if_so(lambda found: _is_ipv4(found)),
)
_IPV6 = Shape(
    r":[0-9A-Fa-f]{0,4}:",
    r"(?<![A-Za-z0-9_:.])(?=[0-9A-Fa-f:]*:)[0-9A-Fa-f:]++(?:\.\d{1,3}){0,3}(?![A-Za-z0-9_])",
    run=lambda char: char in "0123456789abcdefABCDEF:",
    spans=if_so(lambda found: _is_ipv6(found)),
)
_MEDIA = Shape(
    r"data:|[A-Za-z0-9+/_-]{64}",
    r"data:[\w/+.-]{0,80}(?:;[\w=.-]{1,80}){0,4},[A-Za-z0-9_+/%=-]++"
    r"|(?<![A-Za-z0-9_+/-])[A-Za-z0-9+/_-]{512,}+={0,2}",
)

_URL = re.compile(r"://[^\s/@]*\Z")
_VERSION = re.compile(
    r"(?:version|versions|ver|release|build|firmware|版本号?|固件)[^\w\n]{0,3}\Z", re.I
)
_NOBODY = frozenset({"git", "hg", "svn"})


def _before(found: Match, most: int) -> str:
    return found.string[max(0, found.start() - most) : found.start()]


def _is_address(found: Match) -> bool:
    """Not the login of a URL or of a repository."""
    start = found.start(1)
    login = _URL.search(found.string, max(0, start - 100), start)
    return login is None and found[1].partition("@")[0] not in _NOBODY


def _is_ipv4(found: Match) -> bool:
    """Not a version, nor the number of a section, which has single digits."""
    return len(found.group()) > len("1.2.3.4") and not _VERSION.search(_before(found, 12))


def _is_ipv6(found: Match) -> bool:
    text = found.group()
    if len(text) < len("fe80::1") or not any(map(str.isdigit, text)):
        return False  # x[::2] is no address
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


DETECTORS: tuple[Detector, ...] = (
    detector("media", _MEDIA),
    *(detector("secret", shape) for shape in secrets.SHAPES),
    detector("email", _EMAIL),
    detector("iban", numbers.IBAN),
    detector("card", numbers.CARD),
    detector("ip", _IPV4),
    detector("ip", _IPV6),
    detector("phone", phones.ANYWHERE),
    detector("phone", phones.CHINA),
    detector("phone", phones.CALLED),
)
"""The built-in detectors, which level ``redacted`` runs."""

# ------------------------------------------------------------------------- other widths and scripts

_ZEROS = (
    0x0660, 0x06F0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66, 0x0E50, 0x0ED0,
    0x0F20, 0x1040, 0x17E0, 0xFF10, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6,
)  # fmt: skip
"""Where the digits of scripts in use begin."""
_DIGITS = {zero + n: 0x30 + n for zero in _ZEROS for n in range(10)}
_WIDE = {point: point - 0xFEE0 for point in range(0xFF21, 0xFF5B) if chr(point - 0xFEE0).isalpha()}
_SIGNS = {ord(wide): narrow for wide, narrow in zip("＠．－＿＋（）／　", "@.-_+()/ ", strict=True)}
_PLAIN: dict[int, int | str] = {**_SIGNS, **_WIDE, **_DIGITS}

UNUSUAL = "[" + "".join(f"{chr(zero)}-{chr(zero + 9)}" for zero in _ZEROS) + "Ａ-Ｚａ-ｚ＠]|（[0-9]"
"""Matches (RE2) a text that `plain` changes in a way that matters."""


def plain(text: str) -> str:
    """The text with digits, Latin letters and some signs of other widths and scripts in ASCII.

    As long as the text, so that places in one are places in the other.
    """
    return text.translate(_PLAIN)
