"""The survey's servers: polite requests, and the files of a release. Imports only ``lake``."""
