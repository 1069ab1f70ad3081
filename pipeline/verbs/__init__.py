"""What commands do. Imports every room of ``pipeline`` but ``commands``."""
