"""Runs, studies and pretraining, from a configuration to records."""
