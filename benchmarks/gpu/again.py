"""The compiled network again, in another process: the compiled code that was kept makes its first step come sooner."""

from benchmarks.gpu.compiling import records

__all__ = ["records"]
