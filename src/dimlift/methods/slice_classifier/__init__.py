"""Classification of volumes from 2D features of slices."""
