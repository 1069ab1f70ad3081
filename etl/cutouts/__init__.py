"""Stamps from coadds, the survey's service and elsewhere, and manifests that name them. Imports ``etl.web``."""
