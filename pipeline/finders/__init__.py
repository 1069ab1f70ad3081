"""What commands do with finders. Imports every room of ``pipeline`` but ``commands``, ``tables``, ``verbs``."""
