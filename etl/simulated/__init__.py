"""Simulated training stamps by Spark. Imports ``etl.cutouts``."""
