"""One module per stage. Imports ``pipeline.project``, ``pipeline.experiment``, ``pipeline.reporting``."""
