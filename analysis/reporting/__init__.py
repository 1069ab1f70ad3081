"""What the page says. Imports every room of ``analysis`` but ``fitted`` and ``page``."""
