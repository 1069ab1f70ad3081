"""Lensed light integrated over pixels. Imports ``injection.scene``, ``injection.priors``, ``injection.optics``."""

from pathlib import Path

from injection.engine._cache import forget_older

forget_older(Path(__file__).parent)
