"""The page. Imports ``analysis.diagnostics``, ``analysis.figures``, ``analysis.results``, ``analysis.statistics``."""
