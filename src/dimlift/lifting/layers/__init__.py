"""Depth mixing, one file a layer type."""
