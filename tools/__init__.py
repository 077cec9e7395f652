"""Helpers of the Makefile: set-up and the demo."""
