"""Lensed light integrated over pixels. Imports ``injection.scene``, ``injection.priors``, ``injection.optics``."""
