"""What the report and MLflow are filled with. Imports ``pipeline.experiment`` and ``pipeline.project``."""
