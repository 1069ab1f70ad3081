"""The logistic function with the same bits on every machine.

NumPy's and the C library's ``exp`` differ in the last bit from processor to processor, which would show in a table's
fingerprint. This one is fdlibm's, step by step as in Java's ``StrictMath`` (and so Spark): only sums, products and
quotients in double precision.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_LN2_HIGH, _LN2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
_PER_LN2 = float.fromhex("0x1.71547652b82fep0")
_SERIES = tuple(
    float.fromhex(text)
    for text in (
        "0x1.555555555553ep-3", "-0x1.6c16c16bebd93p-9", "0x1.1566aaf25de2cp-14", "-0x1.bbd41c5d26bf1p-20",
        "0x1.6376972bea4d0p-25",
    )
)  # fmt: skip
"""Of x (exp(x) + 1) / (exp(x) - 1) - 2 in powers of x^2, from x^2 on (Remez)."""
_TINY, _UNREDUCED, _SINGLE = 0x3E300000, 0x3FD62E42, 0x3FF0A2B2
"""High words of 2^-28, 0.5 ln 2 and 1.5 ln 2: below the first exp is 1 + x, up to the second nothing is subtracted,
below the third one ln 2."""
_LOWEST, _HIGHEST = -745.2, 709.8
"""Beyond them exp is 0 and infinite."""


def logistic(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 / (1 + exp(-x)) of numbers; NaN of NaN."""
    with np.errstate(over="ignore", under="ignore"):
        return np.asarray(1 / (1 + _exp(-x)))


def _exp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp, by fdlibm's ``e_exp.c``."""
    x = np.clip(x, _LOWEST, _HIGHEST)
    high = (np.ascontiguousarray(x).view(np.int64) >> 32) & 0x7FFFFFFF
    sign = np.copysign(1.0, x)
    twos = np.where(high < _SINGLE, sign, np.trunc(_PER_LN2 * np.nan_to_num(x) + sign * 0.5))
    twos = np.where(high > _UNREDUCED, twos, 0.0)
    above, below = x - twos * _LN2_HIGH, twos * _LN2_LOW
    rest = above - below
    square = rest * rest
    series = np.zeros_like(square)
    for factor in reversed(_SERIES):
        series = factor + square * series
    odd = rest - square * series
    unreduced = 1 - ((rest * odd) / (odd - 2) - rest)
    reduced = 1 - ((below - (rest * odd) / (2 - odd)) - above)
    found = np.ldexp(np.where(twos == 0, unreduced, reduced), twos.astype(np.int32))
    return np.where(high < _TINY, 1 + x, found)
