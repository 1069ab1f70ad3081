"""Figures as bytes; the only place that draws. Imports ``analysis.comparisons`` and ``analysis.statistics``."""
