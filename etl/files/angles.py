"""Coordinates written as text: decimal degrees, or sexagesimal if hours and degrees can be distinguished."""

from __future__ import annotations

import math
import re
import warnings

_COLONS = re.compile(r"[+-]?\d{1,3}(:|\s+)\d{1,2}(:|\s+)\d{1,2}(\.\d*)?")
_SIGNS = str.maketrans({"\u2212": "-", "\u2013": "-", "°": "d", "º": "d", "′": "m", "'": "m", "″": "s", '"': "s"})
"""Minus signs and marks of degrees, minutes and seconds as they are printed."""
_MARKED = re.compile(r"([+-]?\d+(?:\.\d*)?)\s*d(?:eg)?")
_LETTERS = re.compile(r"[+-]?\d{1,3}\s*[hd]\s*\d{1,2}\s*m\s*\d{1,2}(\.\d*)?\s*s")


def number(text: str | None) -> float | None:
    """A finite decimal number, or None."""
    try:
        value = float((text or "").translate(_SIGNS))
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in str(text) else None


def right_ascension(text: str | None, in_hours: bool = False) -> float | None:
    """Degrees in [0, 360], or None; sexagesimal text without a letter means hours, and -180 to 0 is 180 to 360.

    ``in_hours``: a decimal number means hours, too.
    """
    value = number(text)
    if value is None:
        value = _sexagesimal(text or "", "hourangle")
    elif in_hours:
        value *= 15
    if value is None or not -180 <= value <= 360:
        return None
    return value + 360 if value < 0 else value


def declination(text: str | None) -> float | None:
    """Degrees in [-90, 90], or None. Sexagesimal text means degrees."""
    value = number(text)
    if value is None and "h" not in (text or ""):
        value = _sexagesimal(text or "", "deg")
    return value if value is not None and abs(value) <= 90 else None


def _sexagesimal(text: str, unit: str) -> float | None:
    text = text.strip().translate(_SIGNS)
    if marked := _MARKED.fullmatch(text):
        return float(marked[1])
    if not (_COLONS.fullmatch(text) or _LETTERS.fullmatch(text)):
        return None
    from astropy.coordinates import Angle  # late: most lists and sweeps are decimal
    from astropy.utils.exceptions import AstropyWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)
            return float(Angle(text, unit=unit).deg)
    except (ValueError, AstropyWarning):  # 24 h or more, 60 minutes or more
        return None
