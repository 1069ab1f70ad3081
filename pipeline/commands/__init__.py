"""The commands of ``dhs``, which import when they run. Imports every room of ``pipeline`` but ``stages``."""
