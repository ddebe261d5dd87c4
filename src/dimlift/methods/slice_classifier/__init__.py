"""Classification from features of slices."""
