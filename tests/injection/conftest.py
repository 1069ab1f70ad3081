"""Hypothesis without a deadline: the first call of a compiled function compiles it."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("injection", deadline=None, derandomize=True, max_examples=30)
settings.load_profile("injection")
