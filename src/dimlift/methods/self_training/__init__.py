"""Self-training with pseudo-labels."""
