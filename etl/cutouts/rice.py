"""Rice decoding of FITS tiles, and windows out of tiles, as compiled loops; private to ``tiles``."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

DITHER_NUMBERS = 10_000
"""How many random numbers dithering has."""
_DITHER_REACH, _DITHER_ZERO = 500, -2147483646


@lru_cache(maxsize=1)
def dither_numbers() -> NDArray[np.float32]:
    """The standard's random numbers of subtractive dithering (appendix I)."""
    seed, found = 1.0, np.empty(DITHER_NUMBERS, dtype=np.float32)
    for place in range(DITHER_NUMBERS):
        seed = 16807.0 * seed % 2147483647.0
        found[place] = seed / 2147483647.0
    return found


@intrinsic
def _leading_zeros(_context: Any, value: Any) -> Any:
    """Leading zeros of a uint64, which must not be 0."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.uint64), code


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _filled(data: Any, at: Any, bits: Any, held: Any) -> Any:
    """The buffer of bits, left-aligned, with at least 33 of them if so many are left in the data."""
    if held <= 32:
        if at + 4 <= len(data):
            word = (
                (np.uint64(data[at]) << np.uint64(24)) | (np.uint64(data[at + 1]) << np.uint64(16))
                | (np.uint64(data[at + 2]) << np.uint64(8)) | np.uint64(data[at + 3])
            )  # fmt: skip
            bits |= word << np.uint64(32 - held)
            return at + 4, bits, held + 32
        while held <= 56 and at < len(data):
            bits |= np.uint64(data[at]) << np.uint64(56 - held)
            at, held = at + 1, held + 8
    return at, bits, held


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _added(number: Any, last: Any, narrow: Any) -> Any:
    """The pixel after ``last``: their difference has its sign in the lowest bit."""
    half = np.int64(number >> np.uint64(1))
    found = last + (~half if number & np.uint64(1) else half)
    return np.int64(np.int16(found)) if narrow else np.int64(np.int32(found))


@njit(cache=True, nogil=True, error_model="numpy")
def _counted(data: Any, buffer: Any, low: Any, narrow: Any, last: Any, out: Any) -> Any:
    """Decode a block of differences: a count of zeros, then ``low`` bits. The buffer, empty (-1) at the data's end."""
    at, bits, held = buffer
    for place in range(len(out)):
        at, bits, held = _filled(data, at, bits, held)
        number = np.uint64(0)
        while bits == np.uint64(0):
            number, held = number + np.uint64(held), 0
            at, bits, held = _filled(data, at, bits, held)
            if held == 0:
                return at, bits, -1
        zeros = _leading_zeros(bits)
        number += np.uint64(zeros)
        bits, held = (bits << np.uint64(zeros)) << np.uint64(1), held - zeros - 1
        if held < low:
            at, bits, held = _filled(data, at, bits, held)
            if held < low:
                return at, bits, -1
        number = (number << np.uint64(low)) | ((bits >> np.uint64(1)) >> np.uint64(63 - low))
        bits, held = bits << np.uint64(low), held - low
        last = _added(number, last, narrow)
        out[place] = last
    return at, bits, held


@njit(cache=True, nogil=True, error_model="numpy")
def _verbatim(data: Any, buffer: Any, size: Any, last: Any, out: Any) -> Any:
    """Decode a block of differences of ``size`` bits each. The buffer, empty (-1) at the data's end."""
    at, bits, held = buffer
    for place in range(len(out)):
        at, bits, held = _filled(data, at, bits, held)
        if held < size:
            return at, bits, -1
        number = bits >> np.uint64(64 - size)
        bits, held = bits << np.uint64(size), held - size
        last = _added(number, last, size == 16)
        out[place] = last
    return at, bits, held


@njit(cache=True, nogil=True, error_model="numpy")
def _rice(data: Any, code: Any, out: Any) -> Any:
    """Decode the first pixels of a tile into ``out``; how many bytes they take, or -1 if the data end before."""
    block, code_bits, verbatim, size = code[0], code[1], code[2], code[3]
    at, bits, held, last = size // 8, np.uint64(0), 0, np.int64(0)
    if len(data) < at:
        return -1
    for byte in data[:at]:
        last = (last << 8) | np.int64(byte)
    last = np.int64(np.int16(last)) if size == 16 else np.int64(np.int32(last))
    for start in range(0, len(out), block):
        at, bits, held = _filled(data, at, bits, held)
        if held < code_bits:
            return -1
        kept, row = np.int64(bits >> np.uint64(64 - code_bits)) - 1, out[start : start + block]
        bits, held = bits << np.uint64(code_bits), held - code_bits
        if kept < 0:
            row[:] = last
        elif kept == verbatim:
            at, bits, held = _verbatim(data, (at, bits, held), size, last, row)
        else:
            at, bits, held = _counted(data, (at, bits, held), kept, size == 16, last, row)
        if held < 0:
            return -1
        last = np.int64(row[-1])
    return (8 * at - held + 7) // 8


@njit(cache=True, nogil=True, error_model="numpy")
def decode(data: Any, tiles: Any, scaled: Any, code: Any, numbers: Any, out: Any) -> Any:
    """Decode tiles that follow each other in ``data``, each into a row of ``out``; the first that fails with the bytes
    that it took (-1: it has too few), or -1, 0. A tile that is wanted whole must take all of its bytes, as in cfitsio.

    tiles : (tile, 6) size in bytes, pixels wanted, pixels of the tile, blank value, first random number, row of
    ``out``; scaled : (tile, 2) scale and zero; code : pixels of a block, the three of ``_CODES``, whether values are
    quantised, dither.
    """
    start, whole = 0, np.empty(out.shape[1], dtype=np.int32)
    for tile in range(len(tiles)):
        size, count, pixels, blank, first, place = tiles[tile]
        row = out[place]
        used = _rice(data[start : start + size], code, whole[:count])
        if used < 0 or (count == pixels and used != size):
            return tile, used
        start += size
        if not code[4]:
            row[:count] = whole[:count]
        else:
            _restore(whole[:count], code[5], scaled[tile], first, numbers, row)
            for pixel in range(count):
                if whole[pixel] == blank:
                    row[pixel] = np.nan
    return -1, 0


@njit(cache=True, nogil=True, error_model="numpy")
def _restore(whole: Any, dither: Any, scaled: Any, turn: Any, numbers: Any, row: Any) -> None:
    """Values before quantisation, with the dither removed."""
    scale, zero = scaled[0], scaled[1]
    if dither < 0:
        for place in range(len(whole)):
            row[place] = whole[place] * scale + zero
        return
    at = int(numbers[turn] * _DITHER_REACH)
    for place in range(len(whole)):
        value = (np.float64(whole[place]) - np.float64(numbers[at]) + 0.5) * scale + zero
        row[place] = 0.0 if dither == 2 and whole[place] == _DITHER_ZERO else value
        at += 1
        if at == DITHER_NUMBERS:
            turn = (turn + 1) % DITHER_NUMBERS
            at = int(numbers[turn] * _DITHER_REACH)


@njit(cache=True, nogil=True, error_model="numpy")
def rows_needed(tile: Any, across: Any, x0: Any, y0: Any, size: Any, rows: Any) -> None:
    """Raise ``rows`` (tile,) to the number of rows of each tile that windows need."""
    for window in range(len(x0)):
        for down in range(y0[window] // tile[0], (y0[window] + size - 1) // tile[0] + 1):
            reach = min(y0[window] + size - down * tile[0], tile[0])
            for right in range(x0[window] // tile[1], (x0[window] + size - 1) // tile[1] + 1):
                rows[down * across + right] = max(rows[down * across + right], reach)


@njit(cache=True, nogil=True, error_model="numpy")
def gather(values: Any, slot: Any, shape: Any, tile: Any, x0: Any, y0: Any, out: Any) -> None:
    """Copy windows from tiles."""
    across, size = -(-shape[1] // tile[1]), out.shape[1]
    for window in range(len(x0)):
        for line in range(size):
            y = y0[window] + line
            x, stop = x0[window], x0[window] + size
            while x < stop:
                left = x // tile[1] * tile[1]
                width = min(tile[1], shape[1] - left)
                upto = min(left + width, stop)
                held = values[slot[y // tile[0] * across + x // tile[1]]]
                base, place = y % tile[0] * width - left, -x0[window]
                for column in range(x, upto):
                    out[window, line, place + column] = held[base + column]
                x = upto
