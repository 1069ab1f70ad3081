"""Runs in MLflow, and what the reference system recorded. The only place that imports MLflow."""
