"""Compiled kernels answer alike whether a process compiled them itself or took them from Numba's cache."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from injection.engine._cache import forget_older

PROGRAM = """
import hashlib
from injection.engine import _rays, render, tracing
from tests.injection.scenes import drawn
images, _ = tracing.trace(drawn("v1_wide", 4, seed=5), 101, render.STANDARD, 0.262)
print(hashlib.sha256(images.tobytes()).hexdigest(), *(sum(stats.values()) for stats in _rays.trace.stats[1:]))
"""


def run(cache: Path) -> tuple[str, int, int]:
    """Digest of some pixels, and the numbers of kernels taken from the cache and compiled."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True)
    digest, hits, misses = done.stdout.split()
    return digest, int(hits), int(misses)


def test_pixels_do_not_depend_on_whether_kernels_came_from_the_cache(whole_stage: None, tmp_path: Path) -> None:
    compiled, loaded = run(tmp_path), run(tmp_path)
    assert compiled[1:] == (0, 1)
    assert loaded[1:] == (1, 0)
    assert compiled[0] == loaded[0]


def test_kernels_with_older_code_of_another_file_are_deleted(tmp_path: Path) -> None:
    kernel, module = tmp_path / "__pycache__" / "_rays.trace.nbi", tmp_path / "_simd.py"
    kernel.parent.mkdir()
    for code, kept in (("X = 1", False), ("X = 1", True), ("X = 2", False), ("X = 2", True)):
        kernel.touch()
        module.write_text(code)
        forget_older(tmp_path)
        assert kernel.exists() == kept


def test_code_that_cannot_be_written_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "__pycache__").write_text("no folder")
    forget_older(tmp_path)
