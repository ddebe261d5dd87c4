"""Rounds of pseudo-labels."""
