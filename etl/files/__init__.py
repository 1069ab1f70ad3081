"""Users' files: sweeps, candidate lists, FITS tables, local or in an object store. Imports only ``lake``."""
