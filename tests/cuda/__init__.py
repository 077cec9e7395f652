"""Tests that need a GPU, and the same comparisons on the CPU."""
