"""Stamps from coadds and from elsewhere, and the manifests that name them. Imports only ``lake``."""
