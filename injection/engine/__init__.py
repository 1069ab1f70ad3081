"""Source models, and lensed light integrated over pixels. Imports ``priors``, ``optics`` and ``scene``."""
