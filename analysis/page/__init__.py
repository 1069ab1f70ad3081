"""The page, in the order of its story. Imports every other room of ``analysis``."""
