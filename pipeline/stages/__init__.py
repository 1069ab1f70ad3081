"""Stages. Imports ``pipeline.project``, ``pipeline.experiment``, ``pipeline.reporting``, ``pipeline.training``."""
