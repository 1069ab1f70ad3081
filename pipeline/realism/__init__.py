"""Injections against real lenses: groups of stamps, closure. Imports ``pipeline.experiment``, ``pipeline.project``."""
