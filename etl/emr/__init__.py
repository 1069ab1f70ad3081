"""Running a Spark stage on EMR. Imports only ``etl.config`` and ``lake``."""
