"""The selection-function experiment: hosts, grid, stream, measurements. Imports every other room of ``injection``."""
