"""Label files: where they are, what is in them, what is wrong with them."""

from __future__ import annotations

from utils.data.labelset import LabelSet, Polygons, Problem, Ragged

__all__ = ['LabelSet', 'Polygons', 'Problem', 'Ragged']
