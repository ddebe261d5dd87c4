"""Embeddings of volumes from frozen 2D features."""
