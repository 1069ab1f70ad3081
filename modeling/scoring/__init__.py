"""Checkpoints and scorers: whatever takes stamps and returns logits.

Imports ``modeling.training`` and ``modeling.networks``.
"""
