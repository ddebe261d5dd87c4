"""Scores of predictions, and probes of frozen features."""
