"""Inputs of the report and of MLflow. Imports ``pipeline.experiment`` and ``pipeline.project``."""
