"""Annotations of other formats as YOLO labels: a reader for each format, one writer for all (rows.py)."""
