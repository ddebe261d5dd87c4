"""Frozen 2D teachers."""
