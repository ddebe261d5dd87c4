"""Baselines without 2D pretraining, and external predictions."""
