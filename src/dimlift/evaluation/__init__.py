"""Scores of predictions, and linear probes of features."""
