"""Metrics, intervals and tests on arrays. Imports only ``lake``."""
