"""Small programs around the toolkit, to start one's own from."""
