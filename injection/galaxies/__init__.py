"""Real galaxies as sources. Imports ``injection.engine`` and what it imports."""
