"""What the report says. Imports ``analysis.figures``, ``analysis.results``, ``analysis.statistics``."""
