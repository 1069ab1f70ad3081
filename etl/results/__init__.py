"""Results of grids: injections, scores, completeness. Imports only ``etl.tables``."""
