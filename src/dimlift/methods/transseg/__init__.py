"""TransSeg: windows of slices in the patch embedding of a 2D transformer."""
