"""Float32 elementary functions that LLVM can vectorise inside a loop; private to the fused backend."""

from __future__ import annotations

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


@intrinsic
def _exponent(context: Any, value: Any) -> Any:
    """Binary exponent of a positive float32, as a float32."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(32))
        power = builder.sub(builder.lshr(bits, ir.Constant(ir.IntType(32), 23)), ir.Constant(ir.IntType(32), 127))
        return builder.sitofp(power, ir.FloatType())

    return types.float32(types.float32), code


@intrinsic
def _mantissa(context: Any, value: Any) -> Any:
    """Mantissa in [1, 2) of a positive float32."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        bits = builder.bitcast(args[0], ir.IntType(32))
        kept = builder.and_(bits, ir.Constant(ir.IntType(32), 0x007FFFFF))
        return builder.bitcast(builder.or_(kept, ir.Constant(ir.IntType(32), 0x3F800000)), ir.FloatType())

    return types.float32(types.float32), code


@intrinsic
def _truncated(context: Any, value: Any) -> Any:
    """A float32 cut towards zero, as a float32."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        return builder.sitofp(builder.fptosi(args[0], ir.IntType(32)), ir.FloatType())

    return types.float32(types.float32), code


@intrinsic
def _power_of_two(context: Any, value: Any) -> Any:
    """2 to an integer-valued float32 in [-126, 127]."""

    def code(_context: Any, builder: Any, _signature: Any, args: Any) -> Any:
        power = builder.add(builder.fptosi(args[0], ir.IntType(32)), ir.Constant(ir.IntType(32), 127))
        return builder.bitcast(builder.shl(power, ir.Constant(ir.IntType(32), 23)), ir.FloatType())

    return types.float32(types.float32), code


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
    """2 to a float32 in (-inf, 126), to 2e-7; zero-like (2^-125) below -125."""
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
    """2 to a float32 in (-inf, 126), to 2e-4: for bounds."""
    x = max(x, _LOWEST)
    whole = _truncated(x - HALF) if x < ONE - ONE else _truncated(x + HALF)
    f = x - whole
    return _power_of_two(whole) * (_ROUGH_EXP2[0] + f * (_ROUGH_EXP2[1] + f * (_ROUGH_EXP2[2] + f * _ROUGH_EXP2[3])))
