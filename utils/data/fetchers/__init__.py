"""Fetching the official data sets: what is common to all (build.py), and each of them (official.py)."""
