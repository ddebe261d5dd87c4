"""Ways for slices to talk: one file each."""
