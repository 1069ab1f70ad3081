"""Spark jobs that turn survey files into Delta tables. Imports ``lake``."""
