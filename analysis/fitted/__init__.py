"""Models fitted to samples, and samples told apart. Imports ``analysis.statistics``."""
