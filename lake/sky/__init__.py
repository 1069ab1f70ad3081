"""What the survey fixes, and geometry on the sky. Imports no other room of ``lake``."""
