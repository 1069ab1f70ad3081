"""Settings, host sets and scores of the lake, for stages, commands and the report. Imports ``pipeline.project``."""
