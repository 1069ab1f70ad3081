"""What else commands do. Imports every room of ``pipeline`` but ``commands``, ``finders``, ``tables``, ``training``."""
