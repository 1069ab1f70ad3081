"""Training runs. Imports ``modeling.networks``."""
