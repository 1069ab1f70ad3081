"""Networks and their input. Imports only ``lake``."""
