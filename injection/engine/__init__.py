"""The renderer: lensed light integrated over pixels. Imports ``injection.scene`` and ``injection.optics``."""
