"""How Spark reads and writes the lake's tables. Imports ``etl.spark``."""
