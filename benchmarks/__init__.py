"""Speed measurements: `python -m benchmarks.NAME`; each prints what it measured. Nothing here is a test."""
