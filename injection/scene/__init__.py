"""What is rendered: lenses and sources, their conventions and ranges. Imports only ``lake``."""
