"""Parameters, paths and the context of a run. Imported by every other room of ``pipeline``."""
