"""Figures as bytes; the only place that draws."""
