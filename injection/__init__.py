"""Lensed galaxies: priors, ray-tracing and PSFs, rendered into survey stamps. Imports ``lake``."""
