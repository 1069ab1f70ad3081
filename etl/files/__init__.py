"""Users' files: sweeps, candidate lists, FITS tables and listings. Imports only ``lake``."""
