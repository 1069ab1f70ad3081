"""Elementary functions in float32 that LLVM can vectorise inside a loop; private to the backend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import njit, types
from numba.extending import intrinsic

ONE = np.float32(1.0)
HALF = np.float32(0.5)
_SQRT2 = np.float32(np.sqrt(2.0))
_LOG2 = tuple(np.float32(2.0 / np.log(2.0) / (2 * k + 1)) for k in range(4))
_EXP2 = tuple(np.float32(np.log(2.0) ** k / np.prod(np.arange(1.0, k + 1))) for k in range(7))
_NODES = np.polynomial.chebyshev.chebpts1(4)
_ROUGH_LOG2 = tuple(
    np.polyfit(1.5 + 0.5 * _NODES, np.log2(1.5 + 0.5 * _NODES) / (0.5 + 0.5 * _NODES), 3)[::-1].astype(np.float32)
)
_ROUGH_EXP2 = tuple(np.polyfit(0.5 * _NODES, np.exp2(0.5 * _NODES), 3)[::-1].astype(np.float32))
_LOWEST = np.float32(-125.0)


_INT, _FLOAT = ir.IntType(32), ir.FloatType()


def _intrinsic(code: Callable[[Any, Any], Any]) -> Any:
    """A function of one float32 that returns another, from its LLVM code."""

    @intrinsic
    def function(_context: Any, value: Any) -> Any:
        return types.float32(types.float32), lambda _context, builder, _signature, args: code(builder, args[0])

    return function


@_intrinsic
def _exponent(builder: Any, value: Any) -> Any:
    """Binary exponent of a positive float32, as a float32."""
    return builder.sitofp(builder.sub(builder.lshr(builder.bitcast(value, _INT), _INT(23)), _INT(127)), _FLOAT)


@_intrinsic
def _mantissa(builder: Any, value: Any) -> Any:
    """Mantissa in [1, 2) of a positive float32."""
    kept = builder.and_(builder.bitcast(value, _INT), _INT(0x007FFFFF))
    return builder.bitcast(builder.or_(kept, _INT(0x3F800000)), _FLOAT)


@_intrinsic
def _truncated(builder: Any, value: Any) -> Any:
    """A float32 rounded towards zero, as a float32."""
    return builder.sitofp(builder.fptosi(value, _INT), _FLOAT)


@_intrinsic
def _power_of_two(builder: Any, value: Any) -> Any:
    """2 to the power of an integer-valued float32 in [-126, 127]."""
    return builder.bitcast(builder.shl(builder.add(builder.fptosi(value, _INT), _INT(127)), _INT(23)), _FLOAT)


@njit(cache=True, fastmath=True, nogil=True, inline="always", error_model="numpy")
def log2(x: Any) -> Any:
    """Base-2 logarithm of a positive float32, to 2e-7."""
    m = _mantissa(x)
    high = m > _SQRT2
    e = _exponent(x) + (ONE if high else ONE - ONE)
    m = m * (HALF if high else ONE)
    t = (m - ONE) / (m + ONE)
    s = t * t
    return e + t * (_LOG2[0] + s * (_LOG2[1] + s * (_LOG2[2] + s * _LOG2[3])))


@njit(cache=True, fastmath=True, nogil=True, inline="always", error_model="numpy")
def exp2(x: Any) -> Any:
    """2 to the power of a float32 below 126, to 2e-7; 2^-125 below -125."""
    x = max(x, _LOWEST)
    whole = _truncated(x - HALF) if x < ONE - ONE else _truncated(x + HALF)
    f = x - whole
    series = _EXP2[3] + f * (_EXP2[4] + f * (_EXP2[5] + f * _EXP2[6]))
    return _power_of_two(whole) * (_EXP2[0] + f * (_EXP2[1] + f * (_EXP2[2] + f * series)))


@njit(cache=True, fastmath=True, nogil=True, inline="always", error_model="numpy")
def rough_log2(x: Any) -> Any:
    """Base-2 logarithm of a positive float32, to 1e-3: for bounds."""
    m = _mantissa(x)
    series = _ROUGH_LOG2[1] + m * (_ROUGH_LOG2[2] + m * _ROUGH_LOG2[3])
    return _exponent(x) + (m - ONE) * (_ROUGH_LOG2[0] + m * series)


@njit(cache=True, fastmath=True, nogil=True, inline="always", error_model="numpy")
def rough_exp2(x: Any) -> Any:
    """2 to the power of a float32 below 126, to 2e-4: for bounds."""
    x = max(x, _LOWEST)
    whole = _truncated(x - HALF) if x < ONE - ONE else _truncated(x + HALF)
    f = x - whole
    return _power_of_two(whole) * (_ROUGH_EXP2[0] + f * (_ROUGH_EXP2[1] + f * (_ROUGH_EXP2[2] + f * _ROUGH_EXP2[3])))
