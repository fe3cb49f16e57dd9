"""Telephone numbers: international, of some countries, and whatever is called a number."""

from __future__ import annotations

import re

from llm_observe.policy.finding import Match, Shape, if_so

_NORTH_AMERICA = re.compile(r"(?:1[ .-])?(?:\([2-9]\d\d\)[ .-]{0,2}|[2-9]\d\d[ .-])\d{3}[ .-]\d{4}")
_INTERNATIONAL = re.compile(r"\(?(?:\+|00)\(?[1-9]")
_NATIONAL = re.compile(r"\(?0[1-9]\d{0,4}\)?[ /-].*|\(?0[1-9](?: \d\d){4}")
_DATE = re.compile(r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|(?<!\d)\d{1,2}[/.]\d{1,2}[/.]\d{2,4}(?!\d)")

_BEFORE = r"(?<![A-Za-z0-9_+-])(?<![0-9]\.)"
_NEXT = r"[ ()./-]*[0-9]"
_AFTER = r"(?![A-Za-z0-9_]|[.-][0-9])"


def _digits(text: str) -> int:
    return sum(map(str.isdigit, text))


def _is_phone(found: Match) -> bool:
    """International, North American, or with a trunk 0 and a separator."""
    text = found.group()
    if _INTERNATIONAL.match(text):
        return 7 <= _digits(text) <= 15
    if _NORTH_AMERICA.fullmatch(text):
        return True
    national = 9 <= _digits(text) <= 12 and _NATIONAL.fullmatch(text) is not None
    return national and not _DATE.search(text)


def _is_called_one(found: Match) -> bool:
    return 10 <= _digits(found[1]) <= 15 and not _DATE.search(found[1])


ANYWHERE = Shape(
    # As `_is_phone` wants it: other rows of digits, such as dates, are so common that they cost.
    rf"(?:\+|00)\(?[1-9](?:{_NEXT}){{4}}"
    r"|[2-9][0-9]{2}(?:\)[ .-]{0,2}|[ .-])[0-9]{3}[ .-][0-9]{4}"
    rf"|0[1-9](?:{_NEXT}){{7}}",
    _BEFORE + r"\(?(?:\+|00)?\(?[0-9][0-9 ()./-]{5,30}[0-9](?![A-Za-z0-9_])",
    run=lambda char: char in "0123456789 ()./-+",
    spans=if_so(_is_phone),
)
CHINA = Shape(
    r"1[3-9][0-9][ -]?[0-9]{4}[ -]?[0-9]{4}|0[1-9][0-9]{1,2}\)?[ -]{0,2}[2-9][0-9]{6}"
    r"|400[ -][0-9]{3,4}[ -][0-9]{3}",
    r"(?<![A-Za-z0-9_+])(?<![A-Za-z0-9][.-])(?:"
    r"(?:(?:\+|00)?86[ -]?)?1[3-9][0-9](?:[ -]?[0-9]{4}){2}"
    r"|(?:\(0[1-9][0-9]{1,2}\)|0[1-9][0-9]{1,2}[ -])[ -]?[2-9][0-9]{6,7}(?:-[0-9]{1,6})?"
    r"|400(?:-[0-9]{3}-[0-9]{4}|[ -][0-9]{4}[ -][0-9]{3})"
    r")" + _AFTER,
    before=6,
)
"""Mobile numbers of eleven digits, landlines with their area code, hotlines."""
CALLED = Shape(
    r"(?i)(?:phone|mobile|cell|tel|whatsapp|fax|手机|电话|联系)[^0-9\n]{0,12}[0-9]",
    r"(?i)(?<![A-Za-z])(?:(?:tele)?phone|mobile|cell|tel|whatsapp|fax|手机|电话|联系方式)"
    r"(?:[ _](?:no|number|is)|号码?|是|为)?\.?[\"' :：=#]{0,5}(\+?[0-9][0-9 ().-]{5,18}[0-9])"
    + _AFTER,
    before=4,
    spans=if_so(_is_called_one, 1),
)
"""What stands behind a word such as phone, with no shape of its own."""
