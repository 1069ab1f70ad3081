"""Running a Spark stage on EMR. Imports only ``lake``."""
