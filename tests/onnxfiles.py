"""Writes a small ONNX network, message by message: the package that makes them is not needed to read them."""

from __future__ import annotations

from pathlib import Path

FLOAT, HALF, DOUBLE, OPSET = 1, 10, 11, 13
"""Kinds of numbers, and the version of the operators"""


def write_mean(
    path: Path,
    bands: int,
    side: int,
    conditions: int = 0,
    batch: int | None = None,
    outputs: int = 1,
    kind: int = FLOAT,
) -> None:
    """The mean of each stamp, plus the mean of its conditions if it takes any; of any batch, or of one size.

    With two outputs the means of the bands come too."""
    nodes = [_mean("stamps", "bands", (2, 3)), _mean("bands", "light", (1,))]
    inputs = [_value("stamps", (batch, bands, side, side), kind)]
    if conditions:
        nodes += [_mean("conditions", "shift", (1,)), _node(("light", "shift"), "score", "Add")]
        inputs.append(_value("conditions", (batch, conditions), kind))
    last = "score" if conditions else "light"
    more = b"".join(_bytes(12, _value("bands", (batch, bands), kind)) for _ in range(outputs - 1))
    graph = b"".join([*(_bytes(1, node) for node in nodes), _bytes(2, b"mean"), *(_bytes(11, one) for one in inputs)])
    graph += _bytes(12, _value(last, (batch,), kind)) + more
    path.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, OPSET)))


def _mean(given: str, made: str, axes: tuple[int, ...]) -> bytes:
    along = _bytes(1, b"axes") + b"".join(_number(8, axis) for axis in axes) + _number(20, 7)
    kept = _bytes(1, b"keepdims") + _number(3, 0) + _number(20, 2)
    return _node((given,), made, "ReduceMean") + _bytes(5, along) + _bytes(5, kept)


def _node(given: tuple[str, ...], made: str, kind: str) -> bytes:
    return b"".join(_bytes(1, name.encode()) for name in given) + _bytes(2, made.encode()) + _bytes(4, kind.encode())


def _value(name: str, shape: tuple[int | None, ...], kind: int) -> bytes:
    sides = b"".join(_bytes(1, _bytes(2, b"n") if side is None else _number(1, side)) for side in shape)
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, sides)))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
