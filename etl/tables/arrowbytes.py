"""Arrow tables as bytes: how Spark's workers hand over rows, and how they are kept."""

from __future__ import annotations

import pyarrow as pa


def packed(table: pa.Table) -> bytes:
    """A table as a compressed stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())


def unpacked(content: bytes) -> pa.Table:
    """The table that :func:`packed` made into bytes."""
    return pa.ipc.open_stream(content).read_all()
