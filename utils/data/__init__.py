"""Data set files, labels, augmentation, loading. Knows nothing of models."""
