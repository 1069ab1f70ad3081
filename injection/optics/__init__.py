"""PSFs and noise. Imports ``injection.scene``."""
