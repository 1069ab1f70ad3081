"""The compiled network once more, in another process: what the compiler kept shortens the way to the first step."""

from benchmarks.gpu.compiling import records

__all__ = ["records"]
