"""Spark's one way to read and write the lake's tables. Imports ``etl.spark``."""
