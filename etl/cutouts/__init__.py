"""Stamps from coadds, the survey's service and elsewhere; manifests of them. Imports ``etl.files`` and ``etl.web``."""
