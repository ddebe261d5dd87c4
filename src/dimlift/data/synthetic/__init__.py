"""Synthetic data for demos and tests."""
