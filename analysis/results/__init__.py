"""What is measured on scores and injections. Imports ``analysis.statistics``."""
