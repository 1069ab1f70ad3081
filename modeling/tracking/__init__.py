"""Runs in MLflow, and what the reference system recorded. Imports ``modeling.scoring`` and ``modeling.training``."""
