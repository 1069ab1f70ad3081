"""Results of grids: injections, scores, completeness. Imports ``etl.files`` and ``etl.tables``."""
