"""Numbers, times and sizes as people read them. Pure: the present moment is passed in."""

from __future__ import annotations

import datetime
import math
from collections.abc import Sequence

_AGES = ((60, 1, "s"), (3600, 60, "min"), (86400, 3600, "h"), (math.inf, 86400, "d"))
_LEFT = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))
_SIZES = ("B", "KB", "MB", "GB", "TB")


def age(seconds: float) -> str:
    """How long ago: ``just now``, ``12 s ago``, ``3 min ago``, ``5 h ago``, ``2 d ago``."""
    if seconds < 1:
        return "just now"
    divisor, unit = next((divisor, unit) for limit, divisor, unit in _AGES if seconds < limit)
    return f"{int(seconds // divisor)} {unit} ago"


def left(seconds: float) -> str:
    """How long still: ``2 d 3 h left``, ``4 min 12 s left``, ``9 s left``, ``ends now``."""
    rest, words = math.ceil(seconds), list[str]()
    for unit, name in _LEFT:
        count, rest = divmod(rest, unit) if rest > 0 else (0, rest)
        if count or words:
            words.append(f"{count} {name}")
    return f"{' '.join(words[:2])} left" if words else "ends now"


def span(seconds: float | None) -> str:
    """A duration: ``0.4 ms``, ``850 ms``, ``1.24 s``, ``2 min 3 s``; a dash where there is none."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds >= 60:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s"
    if seconds >= 1:
        return f"{seconds:.2f} s"
    milliseconds = seconds * 1000
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"


def number(value: float | None) -> str:
    """``1,234`` below ten thousand, ``12.3 k`` and ``4.5 M`` above; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    for limit, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if abs(value) >= limit:
            scaled = value / (1e3 if unit == "k" else limit)
            return f"{scaled:.1f} {unit}"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def exact(value: float | None) -> str:
    """All digits, grouped, for the title of a shortened number."""
    return "" if value is None else f"{value:,}"


def size(count: float | None) -> str:
    """Bytes as ``512 B``, ``1.4 KB``, ``3.0 MB`` (steps of 1024)."""
    if count is None:
        return "–"
    power = min(int(math.log(count, 1024)), len(_SIZES) - 1) if count >= 1 else 0
    scaled = count / 1024**power
    return f"{scaled:.0f} {_SIZES[power]}" if power == 0 else f"{scaled:.1f} {_SIZES[power]}"


def percent(share: float | None) -> str:
    """``0 %``, ``0.4 %``, ``12 %``; a dash where there is none."""
    if share is None or not math.isfinite(share):
        return "–"
    value = share * 100
    return f"{value:.1f} %" if 0 < value < 1 else f"{value:.0f} %"


def plural(count: int, one: str, many: str = "") -> str:
    """``1 agent``, ``3 agents``."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def listing(words: Sequence[str], most: int = 3) -> str:
    """``a, b and c``; beyond ``most``: ``a, b, c and 4 more``."""
    shown, rest = list(words[:most]), len(words) - most
    if rest > 0:
        return f"{', '.join(shown)} and {rest} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def sentence(text: str) -> str:
    """A reason as a sentence: a capital at its beginning, a stop at its end."""
    stopped = text if not text or text.endswith((".", "!", "?")) else f"{text}."
    return stopped[:1].upper() + stopped[1:]


def iso(moment: float) -> str:
    """Unix seconds as an ISO 8601 moment in UTC, for ``<time datetime>``."""
    return datetime.datetime.fromtimestamp(moment, datetime.UTC).isoformat(timespec="milliseconds")


def clock(moment: float) -> str:
    """Unix seconds as ``2026-11-24 07:58:01 UTC``, the title before the browser makes it local."""
    return f"{datetime.datetime.fromtimestamp(moment, datetime.UTC):%Y-%m-%d %H:%M:%S} UTC"
