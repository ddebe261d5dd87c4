"""2D network in, 3D network out."""
