"""Batches: patches of volumes, random points of point clouds, RGB-D pairs, augmentation."""
