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
    """Leading zeros of a uint64, 64 of 0."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.ctlz(args[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), code


@intrinsic
def _word(_context: Any, data: Any, at: Any) -> Any:
    """Eight bytes of an array of bytes as a big-endian number; nothing checks that they lie in it."""

    def code(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        array = context.make_array(signature.args[0])(context, builder, args[0])
        place = builder.bitcast(builder.gep(array.data, [args[1]]), ir.IntType(64).as_pointer())
        word = builder.load(place)
        word.align = 1
        return builder.bswap(word)

    return types.uint64(data, types.int64), code


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _counting(bits: Any, held: Any) -> Any:
    """The first bits, at most 63, of a buffer that has read further; 0 after them."""
    return bits & ~(~np.uint64(0) >> np.uint64(held))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _filled(data: Any, at: Any, bits: Any, held: Any) -> Any:
    """The buffer of bits, left-aligned, with at least 56 of them if so many are left in the data."""
    if held <= 56 and at <= len(data) - 8:
        bits |= _word(data, at) >> np.uint64(held)
        at, held = at + ((63 - held) >> 3), held | 56
        return at, _counting(bits, held), held
    while held <= 56 and at < len(data):
        bits |= np.uint64(data[at]) << np.uint64(56 - held)
        at, held = at + 1, held + 8
    return at, bits, held


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _added(number: Any, last: Any, narrow: Any) -> Any:
    """The pixel after ``last``: their difference has its sign in the lowest bit."""
    half = np.int64(number >> np.uint64(1))
    found = last + (half ^ -np.int64(number & np.uint64(1)))
    return np.int64(np.int16(found)) if narrow else np.int64(np.int32(found))


@njit(cache=True, nogil=True, error_model="numpy")
def _counted(data: Any, buffer: Any, low: Any, narrow: Any, last: Any, out: Any) -> Any:
    """Decode a block of differences: a count of zeros, then ``low`` bits. The buffer, empty (-1) at the data's end.

    Eight bytes at a time while there are as many, without a branch that the processor cannot foresee.
    """
    at, bits, held = buffer
    whole, mask = len(data) - 8, (np.uint64(1) << np.uint64(low)) - np.uint64(1)
    for place in range(len(out)):
        if place % 4 == 0 and at <= whole:
            bits |= _word(data, at) >> np.uint64(held)
            at, held = at + ((63 - held) >> 3), held | 56
        zeros = _leading_zeros(bits)
        used = zeros + 1 + low
        if used <= held and used < 64:  # one shift of the buffer, on which the next pixel waits
            rest = (bits >> np.uint64(64 - used)) & mask
            number = (np.uint64(zeros) << np.uint64(low)) | rest
            bits, held = bits << np.uint64(used), held - used
        else:
            at, bits, held, number = _long(data, at, _counting(bits, held), held, low)
            if held < 0:
                return at, bits, held
        last = _added(number, last, narrow)
        out[place] = last
    return at, _counting(bits, held), held


@njit(cache=True, nogil=True, error_model="numpy")
def _long(data: Any, at: Any, bits: Any, held: Any, low: Any) -> Any:
    """A difference of any length, near the data's end too: the buffer, empty (-1) at the end, and the difference."""
    at, bits, held = _filled(data, at, bits, held)
    number = np.uint64(0)
    while bits == np.uint64(0):
        number, held = number + np.uint64(held), 0
        at, bits, held = _filled(data, at, bits, held)
        if held == 0:
            return at, bits, -1, number
    zeros = _leading_zeros(bits)
    number += np.uint64(zeros)
    bits, held = (bits << np.uint64(zeros)) << np.uint64(1), held - zeros - 1
    if held < low:
        at, bits, held = _filled(data, at, bits, held)
        if held < low:
            return at, bits, -1, number
    number = (number << np.uint64(low)) | ((bits >> np.uint64(1)) >> np.uint64(63 - low))
    return at, bits << np.uint64(low), held - low, number


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
    """Decode tiles, each into a row of ``out``; the first that fails with the bytes that it took (-1: it has too few),
    or -1, 0. A tile that is wanted whole must take all of its bytes, as in cfitsio.

    tiles : (tile, 7) place in ``data``, size in bytes, pixels wanted, pixels of the tile, blank value, first random
    number, row of ``out``; scaled : (tile, 2) scale and zero; code : pixels of a block, the three of ``_CODES``,
    whether values are quantised, dither.
    """
    whole = np.empty(out.shape[1], dtype=np.int32)
    for tile in range(len(tiles)):
        start, size, count, pixels, blank, first, place = tiles[tile]
        row = out[place]
        used = _rice(data[start : start + size], code, whole[:count])
        if used < 0 or (count == pixels and used != size):
            return tile, used
        if not code[4]:
            row[:count] = whole[:count]
        else:
            _restore(whole[:count], blank, code[5], scaled[tile], first, numbers, row)
    return -1, 0


@njit(cache=True, nogil=True, error_model="numpy")
def _restore(whole: Any, blank: Any, dither: Any, scaled: Any, turn: Any, numbers: Any, row: Any) -> None:
    """Values before quantisation, with the dither removed; NaN for ``blank``."""
    scale, zero = scaled[0], scaled[1]
    if dither < 0:
        for place in range(len(whole)):
            row[place] = np.nan if whole[place] == blank else whole[place] * scale + zero
        return
    done, zeroed = 0, dither == 2
    while done < len(whole):
        at = int(numbers[turn] * _DITHER_REACH)
        some, dithers = whole[done : done + DITHER_NUMBERS - at], numbers[at:]
        for place in range(len(some)):
            value = (np.float64(some[place]) - np.float64(dithers[place]) + 0.5) * scale + zero
            value = 0.0 if zeroed and some[place] == _DITHER_ZERO else value
            row[done + place] = np.nan if some[place] == blank else value
        done, turn = done + len(some), (turn + 1) % DITHER_NUMBERS


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
                base = y % tile[0] * width - left
                to, of = out[window, line, x - x0[window] : upto - x0[window]], held[base + x : base + upto]
                for column in range(len(to)):
                    to[column] = of[column]
                x = upto


@njit(cache=True, nogil=True, error_model="numpy")
def weighted(pixels: Any, weights: Any, stamps: Any, places: Any, band: Any) -> None:
    """Copy windows (n, y, x) to some stamps (row, band, y, x), NaN where their weight is not positive."""
    for window in range(len(places)):
        stamp = stamps[places[window], band]
        for y in range(pixels.shape[1]):
            for x in range(pixels.shape[2]):
                stamp[y, x] = pixels[window, y, x] if weights[window, y, x] > 0 else np.nan


@njit(cache=True, nogil=True, error_model="numpy")
def flagged(flags: Any, bits: Any, masked: Any, places: Any) -> None:
    """Write whether flags (n, y, x), whole numbers, have some of ``bits``, to some rows of ``masked`` (row, y, x)."""
    for window in range(len(places)):
        row = masked[places[window]]
        for y in range(flags.shape[1]):
            for x in range(flags.shape[2]):
                row[y, x] = (np.int64(flags[window, y, x]) & bits) != 0
