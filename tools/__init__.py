"""Programs beside the toolkit: set-up and demo, for the Makefile, and the GPU check."""
