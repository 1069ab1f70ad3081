"""Parameters, paths and the context of a run. Imports no other room of ``pipeline``."""
