"""Networks and their input. Imports only ``modeling``'s top level and ``lake``."""
