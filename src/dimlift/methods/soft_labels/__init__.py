"""Soft labels: class probabilities of a 2D network as targets for points."""
