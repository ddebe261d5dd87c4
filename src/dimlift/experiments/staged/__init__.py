"""Named stages of pretraining in a row: lift, learn from labels, from pseudo-labels, from these and classes."""
