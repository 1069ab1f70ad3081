"""Catalogues to tables: pool, candidates, negatives. Imports ``etl.files`` and ``etl.tables``."""
