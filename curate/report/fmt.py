"""Numbers as people read them. Digits are kept to what the number supports; a missing number is a dash, never 0."""

import math
from datetime import datetime
from typing import Any


def count(value: Any) -> str:
    """12345 -> 12,345."""
    return "–" if is_missing(value) else f"{int(value):,}"


def number(value: Any, digits: int = 4) -> str:
    """Four significant digits, no exponent where a plain number is as short."""
    if is_missing(value):
        return "–"
    text = f"{float(value):.{digits}g}"
    return f"{float(text):,.0f}" if "e" in text and 1e4 <= abs(float(text)) < 1e9 else text


def share(part: float, whole: float) -> str:
    """Percent with one decimal; a dash of nothing."""
    return f"{100 * part / whole:.1f} %" if whole else "–"


def span(seconds: Any) -> str:
    """Seconds as `45.2 s`, `12.3 min` or `4.56 h`."""
    if is_missing(seconds):
        return "–"
    value = float(seconds)
    if value < 100:
        return f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:,.2f} h"


def size(n_bytes: Any) -> str:
    """Bytes in decimal units."""
    if is_missing(n_bytes):
        return "–"
    value = float(n_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:,.1f} TB"


def when(stamp: Any) -> str:
    """An ISO 8601 time as `2 January 2026, 03:04 UTC`; anything else as it is."""
    try:
        time = datetime.fromisoformat(str(stamp))
    except ValueError:
        return text(stamp)
    zone = f" {time.tzname()}" if time.tzinfo else ""
    return f"{time.day} {time:%B %Y, %H:%M}{zone}"


def is_missing(value: Any) -> bool:
    """None, NaN and pandas' NA."""
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ == "NAType"


def text(value: Any, limit: int = 300) -> str:
    """A string on one line, shortened; empty where it is missing."""
    words = "" if is_missing(value) else " ".join(str(value).split())
    return words if len(words) <= limit else words[: limit - 1] + "…"
