"""The commands of ``dhs``, imported when they run. Imports every room of ``pipeline`` but ``realism``, ``stages``."""
