"""Stages. Imports every room of ``pipeline`` but ``commands``, ``finders``, ``tables`` and ``verbs``."""
