"""The cards of a FITS header that locate the data: found in one bounded pass, and checked before they are used.

Other cards (comments, history, keywords not needed here) are not parsed, so a malformed one does no harm.
"""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Mapping
from typing import BinaryIO

from lake.errors import DataError

BLOCK = 2880
FIELD_BYTES = {"L": 1, "B": 1, "I": 2, "J": 4, "K": 8, "A": 1, "E": 4, "D": 8, "C": 8, "M": 16, "P": 8, "Q": 16, "X": 1}
"""Bytes of one value by the code of its FITS column format; an array descriptor (P, Q) counts by itself."""
_CARD = 80
_MOST_BLOCKS = 1000
"""Blocks of one header: ten times the longest of the survey's."""
_CARDS = re.compile(
    rb"(XTENSION|BITPIX|NAXIS\d{0,3}|PCOUNT|GCOUNT|TFIELDS|ZTABLE|ZIMAGE|ZNAXIS\d{0,3}|ZTILE\d{1,3}|CHECKSUM"
    rb"|(?:TTYPE|TFORM|TSCAL|TZERO|TNULL|TUNIT)\d{1,3}) *="
)
_DESCRIBING = re.compile(
    rb"(ZBITPIX|ZCMPTYPE|ZQUANTIZ|ZDITHER0|Z?BLANK|ZNAME\d|ZVAL\d|BSCALE|BZERO|THEAP|BUNIT"
    rb"|(?:CTYPE|CRVAL|CRPIX|CDELT)[12]|(?:CD|PC)[12]_[12]) *="
)
"""Cards of images; if a card occurs twice, the first one counts, as in astropy."""
_INTEGER = re.compile(rb".{8}= +(-?\d{1,18}) *(?:/.*)?", re.DOTALL)
"""A card in the fixed format of integers, which astropy takes a hundred times as long to read."""
_REAL = re.compile(rb".{8}= +(-?\d+\.\d*(?:E[+-]?\d{1,3})?) *(?:/.*)?", re.DOTALL)
_TEXT = re.compile(rb".{8}= '([ -%(-~]*)' *(?:/[ -&(-~]*)?", re.DOTALL)
"""A card of plain text, without quotes and signs of continuation."""
_GZIP = b"\x1f\x8b"
_SPELLINGS = {
    "nMgy": ("nanomaggy", "nanomaggies", "nmgy"),
    "nMgy^-2": ("1/nanomaggy^2", "1/nanomaggies^2", "nanomaggy^-2", "nanomaggy^(-2)", "nmgy^-2"),
    "deg": ("deg", "degree", "degrees"),
    "arcsec": ("arcsec", "arcsecond", "arcseconds"),
    "mag": ("mag",),
}
"""Units, and how survey files write them."""
Value = str | int | float | bool | None


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
        if (integer := _INTEGER.fullmatch(self._cards[key])) is not None:
            return int(integer[1])
        if (real := _REAL.fullmatch(self._cards[key])) is not None:
            return float(real[1])
        if (text := _TEXT.fullmatch(self._cards[key])) is not None:
            return text[1].decode().rstrip()
        return _by_astropy(key, self._cards[key], default)

    def get(self, key: str, default: Value = None) -> Value:
        """:meth:`value`, under the name that it has in astropy's headers."""
        return self.value(key, default)

    def text(self, key: str, default: str | None = None) -> str:
        """A text."""
        found = self.value(key, default)
        if not isinstance(found, str):
            raise DataError(f"the header's {key} must be text, got {found!r}")
        return found.strip()

    def whole(self, key: str, low: int = 0, high: int = (1 << 63) - 1, default: int | None = None) -> int:
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
        """Bytes of the data that follow; the next header begins with the block after them (:func:`blocks`)."""
        axes = [self.whole(f"NAXIS{i + 1}") for i in range(self.whole("NAXIS", high=999, default=0))]
        if not axes:
            return 0
        bits = self.whole("BITPIX", -64, 64)
        if bits not in (8, 16, 32, 64, -32, -64):
            raise DataError(f"the header's BITPIX must be 8, 16, 32, 64, -32 or -64, got {bits}")
        groups, heap = self.whole("GCOUNT", default=1), self.whole("PCOUNT", default=0)
        return abs(bits) // 8 * groups * (heap + math.prod(axes))


def _by_astropy(key: str, card: bytes, default: Value) -> Value:
    """The value of a card of any form. Importing astropy takes half a second, and most files need none of it."""
    from astropy.io import fits
    from astropy.utils.exceptions import AstropyWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", AstropyWarning)
            found = fits.Card.fromstring(card).value
    except (ValueError, KeyError, TypeError, UnicodeError, fits.VerifyError, AstropyWarning) as error:
        raise DataError(f"the header's {key} cannot be read: {error}") from error
    if isinstance(found, fits.card.Undefined):
        return default
    if not isinstance(found, str | int | float):
        raise DataError(f"the header's {key} must be text or a number, got {found!r}")
    return found


def blocks(size: int) -> int:
    """A number of bytes rounded up to whole blocks."""
    return -(-size // BLOCK) * BLOCK


def read_header(file: BinaryIO, place: int) -> tuple[Header, int]:
    """The header that begins at ``place``, and where it ends."""
    cards: dict[str, bytes] = {}
    file.seek(place)
    for number in range(_MOST_BLOCKS):
        block = file.read(BLOCK)
        if not block and number == 0 and place:
            raise DataError("the file contains no binary table, or ends before it")
        if number == 0 and block[:8] not in (b"SIMPLE  ", b"XTENSION"):
            raise DataError("it is gzip-compressed: unpack it" if block[:2] == _GZIP else "it is not a FITS file")
        for start in range(0, len(block), _CARD):
            card = block[start : start + _CARD]
            if card[:8] == b"END     ":
                return Header(cards), place + (number + 1) * BLOCK
            if described := _DESCRIBING.match(card):
                cards.setdefault(described[1].decode(), card)
            found = _CARDS.match(card)
            if found and cards.setdefault(found[1].decode(), card) != card:
                raise DataError(f"a header contains {found[1].decode()} twice")
        if len(block) < BLOCK:
            raise DataError("the file is truncated: a header has no end")
    raise DataError(f"a header has no end in its first {_MOST_BLOCKS * BLOCK} bytes")


def unit_fault(what: str, declared: str, wanted: str) -> str | None:
    """Why values in a declared unit cannot be used where ``wanted`` is meant; none declared is taken as right."""
    text = declared.strip()
    if not text or not wanted or text.lower() in _SPELLINGS[wanted]:
        return None
    return f"{what} must be in {wanted}, the header says {text}"
