"""The Spark session and the server behind it. Imports only ``lake``."""
