"""Results of grids: injections, scores, completeness. Imports ``etl.tables``."""
