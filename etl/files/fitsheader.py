"""The cards of a FITS header that locate the data: found in one bounded pass, and checked before they are used.

Other cards (comments, history, keywords not needed here) are not parsed, so a malformed one does no harm.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from typing import Protocol

from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from lake.errors import DataError

BLOCK = 2880
_CARD = 80
_MOST_BLOCKS = 1000
_CARDS = re.compile(
    rb"(XTENSION|BITPIX|NAXIS\d{0,3}|PCOUNT|GCOUNT|TFIELDS|ZTABLE|(?:TTYPE|TFORM|TSCAL|TZERO|TNULL|TUNIT)\d{1,3}) *="
)
Value = str | int | float | bool | None


class Readable(Protocol):
    """A file open for reading at any position."""

    def read(self, size: int, /) -> bytes: ...
    def seek(self, place: int, /) -> object: ...


class Header:
    """Cards by keyword; a value is checked when it is asked for."""

    def __init__(self, cards: Mapping[str, bytes]) -> None:
        self._cards = cards

    def __contains__(self, key: str) -> bool:
        return key in self._cards

    def value(self, key: str, default: Value = None) -> Value:
        """The value of a card, or the default where there is none or it is undefined."""
        if key not in self._cards:
            return default
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", AstropyWarning)
                found = fits.Card.fromstring(self._cards[key]).value
        except (ValueError, KeyError, TypeError, UnicodeError, fits.VerifyError, AstropyWarning) as error:
            raise DataError(f"the header's {key} cannot be read: {error}") from error
        if isinstance(found, fits.card.Undefined):
            return default
        if not isinstance(found, str | int | float):
            raise DataError(f"the header's {key} must be text or a number, got {found!r}")
        return found

    def text(self, key: str, default: str | None = None) -> str:
        """A text."""
        found = self.value(key, default)
        if not isinstance(found, str):
            raise DataError(f"the header's {key} must be text, got {found!r}")
        return found.strip()

    def whole(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number in [low, high]."""
        found = self.value(key, default)
        if not isinstance(found, int) or isinstance(found, bool) or not low <= found <= high:
            raise DataError(f"the header's {key} must be a whole number in [{low}, {high}], got {found!r}")
        return found

    def real(self, key: str, default: float) -> float:
        """A finite number."""
        found = self.value(key, default)
        if isinstance(found, bool | str) or found is None or not math.isfinite(found):
            raise DataError(f"the header's {key} must be a number, got {found!r}")
        return float(found)

    def data_bytes(self) -> int:
        """Length of the data that follow, in whole blocks."""
        axes = [self.whole(f"NAXIS{i + 1}", 0, 1 << 62) for i in range(self.whole("NAXIS", 0, 999, 0))]
        if not axes:
            return 0
        bits = self.whole("BITPIX", -64, 64)
        if bits not in (8, 16, 32, 64, -32, -64):
            raise DataError(f"the header's BITPIX must be 8, 16, 32, 64, -32 or -64, got {bits}")
        groups, heap = self.whole("GCOUNT", 0, 1 << 62, 1), self.whole("PCOUNT", 0, 1 << 62, 0)
        size = abs(bits) // 8 * groups * (heap + math.prod(axes))
        return -(-size // BLOCK) * BLOCK


def read_header(file: Readable, place: int) -> tuple[Header, int]:
    """The header that begins at ``place``, and where it ends."""
    cards: dict[str, bytes] = {}
    file.seek(place)
    for number in range(_MOST_BLOCKS):
        block = file.read(BLOCK)
        if not block and number == 0 and place:
            raise DataError("the file contains no binary table, or ends before it")
        if number == 0 and block[:8] not in (b"SIMPLE  ", b"XTENSION"):
            raise DataError("it is not a FITS file")
        for start in range(0, len(block), _CARD):
            card = block[start : start + _CARD]
            if card[:8] == b"END     ":
                return Header(cards), place + (number + 1) * BLOCK
            found = _CARDS.match(card)
            if found and cards.setdefault(found[1].decode(), card) != card:
                raise DataError(f"a header contains {found[1].decode()} twice")
        if len(block) < BLOCK:
            raise DataError("the file is truncated: a header has no end")
    raise DataError(f"a header has no end in its first {_MOST_BLOCKS * BLOCK} bytes")
