"""Checkpoints and scorers. Imports ``modeling.training`` and ``modeling.networks``."""
