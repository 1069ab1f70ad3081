"""The page. Imports ``analysis.figures``, ``analysis.reporting``, ``analysis.statistics``."""
