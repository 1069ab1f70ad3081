"""Metrics, intervals, diagnostics, figures and the report. Imports ``injection`` and ``lake``."""
