"""Hosts, scorers and injections taken from the lake. Imports ``pipeline.project``."""
