"""Configurations turned into runs: what to train on what, for how long, and what a run leaves behind."""
