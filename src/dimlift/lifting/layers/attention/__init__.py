"""Attention across slices."""
