"""Baselines without 2D knowledge, and external predictions."""
