"""Experiment loggers. None imports its library or logs in before it is asked to."""
