"""Supervised training of volume and point cloud networks."""
