"""Depth-mixing layers, one module per layer type."""
