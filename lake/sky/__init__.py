"""What the survey fixes, and geometry on the sky. Imports only ``lake``'s top level."""
