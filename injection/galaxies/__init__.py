"""Real galaxies as sources. Imports ``injection.engine``, ``injection.scene``, ``injection.priors``."""
