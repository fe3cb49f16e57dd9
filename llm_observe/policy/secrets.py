"""Keys, tokens and passwords: by the prefixes that services give them, or by what they are called."""

from __future__ import annotations

import re
from collections.abc import Iterator

from llm_observe.policy.finding import Match, Shape, Span, if_so

_PREFIXES = (
    r"(?:sk|pk|rk)[-_]|(?:r8|hf|gh[pousr]|npm|ntn)_|llmo_|github_pat_|gsk_|glpat-|xox[abeoprs]-"
    r"|pypi-|xai-|AKIA|ASIA|AIza|ya29\.|SG\.|whsec_|GOCSPX-|key-|SK[0-9a-f]{8}|pplx-|lsv2_|dop_v1_"
    r"|shp(?:at|ca|pa|ss)_|dapi[0-9a-f]{8}|dckr_pat_|lin_api_|pcsk_|gl(?:sa|c)_|hvs\.|NRAK-|sntrys_"
    r"|PMAK-|AGE-SECRET-KEY-|LTAI|AKID|hooks\.slack\.com|bot[0-9]{8}"
)
_PREFIXED = (
    r"(?<![A-Za-z0-9])(?:"
    r"(?:sk|pk|rk)[-_](?:[a-z0-9]{2,10}[-_]){0,3}[A-Za-z0-9_-]{16,}+"
    r"|(?:r8|hf|gh[pousr]|npm|ntn)_[A-Za-z0-9]{16,}+|llmo_[A-Za-z0-9_-]{16,}+|github_pat_\w{20,}+"
    r"|gsk_\w{20,}+|glpat-[\w-]{16,}+|xox[abeoprs]-[\w-]{10,}+|pypi-[\w-]{20,}+|xai-[\w-]{20,}+"
    r"|A(?:KIA|SIA)[A-Z0-9]{16}(?![A-Z0-9])|AIza[\w-]{35}|ya29\.[\w-]{20,}+"
    r"|SG\.[\w-]{16,}+\.[\w-]{16,}+|whsec_[A-Za-z0-9+/=]{20,}+|GOCSPX-[\w-]{20,}+"
    r"|key-[0-9a-f]{32}|SK[0-9a-f]{32}|pplx-[A-Za-z0-9]{32,}+|lsv2_(?:pt|sk)_\w{32,}+"
    r"|dop_v1_[0-9a-f]{64}|shp(?:at|ca|pa|ss)_[0-9a-fA-F]{32}|dapi[0-9a-f]{32}(?:-\d)?"
    r"|dckr_pat_[\w-]{20,}+|lin_api_[A-Za-z0-9]{32,}+|pcsk_\w{32,}+|gl(?:sa|c)_[\w+/=]{32,}+"
    r"|hvs\.[\w-]{24,}+|NRAK-[A-Z0-9]{27}|sntrys_[\w+/=]{40,}+|PMAK-[0-9a-f]{24}-[0-9a-f]{34}"
    r"|AGE-SECRET-KEY-1[A-Z0-9]{58}|LTAI[A-Za-z0-9]{12,26}(?![A-Za-z0-9])|AKID[A-Za-z0-9]{32}"
    r"|https://hooks\.slack\.com/services/[A-Z0-9]+/[A-Z0-9]+/[A-Za-z0-9]{16,}+"
    r")"
)
_JOINED = r"(?<![A-Za-z0-9])[0-9a-f]{32}\.[A-Za-z0-9]{16}(?![A-Za-z0-9])"
_TELEGRAM = r"(?<![A-Za-z0-9])[0-9]{8,10}:[A-Za-z0-9_-]{35}(?![A-Za-z0-9_-])"
_DISCORD = r"(?<![A-Za-z0-9])[MNO][A-Za-z0-9_-]{23,25}\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27,38}"

_NAMES = (
    r"pass(?:word|wd|phrase|code)|pwd|secret|(?:api|access|private|account|auth|signing|encryption)"
    r"[_-]?(?:key|token|secret)|(?:refresh|bot|id|session|bearer)[_-]?token"
    r"|密码|口令|密钥|令牌"
)
_VALUE = r"(?:[^\s\"',;}&，。；！？、）”]|&(?![A-Za-z_]+=)){6,}+"
_NAMED = (
    rf"(?i)(?:{_NAMES})(?:[_-]?(?:access[_-]?)?(?:key|id|value))?[\"'”]?\s{{0,4}}[:=：]\s{{0,4}}"
    rf"(?:[\"'“]([^\"'\n”]{{6,256}}+)|({_VALUE}))"
)
_SAID = (
    r"(?i)(?:pass(?:word|phrase|code)|pwd|密码|口令|密钥)"
    r"(?: is | was |是|为| |：)[\"'“ ]?((?=[!-~]*[0-9])(?=[!-~]*[A-Za-z])[!-~]{6,}+)"
)
_BEARER = r"(?i)(?<![A-Za-z0-9])(?:bearer|basic)\s{1,4}([A-Za-z0-9._~+/-]{16,}+=*+)"
_URL = r"://[^\s/:@\"']{0,64}:([^\s/@\"']{3,128})@"

NAME = re.compile(rf"(?i){_NAMES}|phone|mobile|tel$|手机|电话")
"""What something is called whose value tells nothing by itself."""

_PLACEHOLDER = re.compile(
    r"(?i)[a-z_][\w.]*[(\[].*|[$<{%*].*|(.)\1*|your.*|change[-_]?me.*|example.*|placeholder.*"
    r"|(?:none|null|true|false|undefined|string|required|optional|redacted|hidden)\W*"
    r"|[a-z_]+(?:\.[a-z_]+)+|\[[a-z-]+(?::[a-z-]+)?\]"
)


def _is_random(found: Match) -> bool:
    """A key has digits or capitals; a class name in a style sheet has not."""
    return any(char.isdigit() or char.isupper() for char in found.group())


def _is_token(found: Match) -> bool:
    return any(char.isdigit() or char == "=" for char in found[1])


def _named(found: Match) -> Iterator[Span]:
    quoted = found[1] is not None
    value = found[1] if quoted else found[2]
    words = value.rstrip(".!?:)").isalpha() and not quoted and "=" not in _sign(found)
    if not words and not _PLACEHOLDER.fullmatch(value):
        yield found.span(1 if quoted else 2)


def _sign(found: Match) -> str:
    return found.group()[: -len(found[2] or "")]


def _private_key(head: Match) -> Iterator[Span]:
    text = head.string
    tail = text.find("-----END", head.end())
    close = text.find("-----", tail + 8) if tail >= 0 else -1
    yield head.start(), close + 5 if close >= 0 else len(text)


_SIGN = r"(?i)(?:pass(?:word|wd|phrase|code)|pwd|secret|key|token|密码|口令|密钥|令牌)"

SHAPES = (
    Shape(r"-----BEGIN", r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----", spans=_private_key),
    Shape(
        r"eyJ[A-Za-z0-9_-]",
        r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{5,}+\.[A-Za-z0-9_-]{5,}+(?:\.[A-Za-z0-9_-]++)?",
    ),
    Shape(_PREFIXES, "(?a)" + _PREFIXED, before=8, spans=if_so(_is_random)),
    Shape(r"[0-9a-f]{16}\.[A-Za-z0-9]{16}", _JOINED, before=16),
    Shape(r"[0-9]{8}:[A-Za-z0-9_-]{35}", _TELEGRAM, before=2),
    Shape(r"\.[A-Za-z0-9_-]{6}\.[A-Za-z0-9_-]{27}", _DISCORD, before=26),
    Shape(r"(?i)(?:bearer|basic)[^A-Za-z]", _BEARER, spans=if_so(_is_token, 1)),
    Shape(
        # With the shortest value that counts: `max_tokens: 512` stands in every span.
        _SIGN + r"[A-Za-z_-]{0,12}[\"'”]?\s{0,4}[:=：]\s{0,4}"
        r"(?:[\"'“][^\"'\n”]{6}|[^\s\"',;}，。；！？、）”]{6})",
        _NAMED,
        before=16,
        spans=_named,
    ),
    Shape(
        _SIGN + r"(?: is | was |是|为| |：)[\"'“ ]?[!-~]{6}",
        _SAID,
        spans=if_so(lambda found: not _PLACEHOLDER.fullmatch(found[1]), 1),
    ),
    Shape(
        r"://[^\s/@\"']+@", _URL, spans=if_so(lambda found: not _PLACEHOLDER.fullmatch(found[1]), 1)
    ),
)
"""All of them."""
