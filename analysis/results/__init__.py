"""Measurements on scores and injections. Imports ``analysis.statistics`` and ``analysis.fitted``."""
