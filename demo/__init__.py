"""A small simulated survey, written in the real file formats, with known truth. Imports ``lake``."""
