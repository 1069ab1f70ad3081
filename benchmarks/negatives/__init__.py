"""Pool to manifest against DuckDB on the same made-up pool: ``python -m benchmarks.negatives --rows 26700000``."""
