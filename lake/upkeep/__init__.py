"""Pinned versions shared, collected, exported. Imports every other room of ``lake``."""
