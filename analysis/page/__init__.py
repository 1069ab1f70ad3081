"""The page, in the order of its story. Imports every room of ``analysis`` but ``comparisons`` and ``fitted``."""
