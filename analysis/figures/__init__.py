"""Figures as bytes; the only place that draws. Imports ``analysis.results`` and ``analysis.statistics``."""
