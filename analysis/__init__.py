"""Metrics, intervals, diagnostics, figures and the report."""
