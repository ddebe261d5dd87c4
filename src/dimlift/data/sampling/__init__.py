"""Batches: patches, point samples, augmentation."""
