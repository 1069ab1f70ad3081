"""Trials, groups, other teams' tables. Imports ``analysis.results``, ``analysis.fitted``, ``analysis.statistics``."""
