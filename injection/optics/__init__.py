"""PSFs and noise. Imports only ``lake``."""
