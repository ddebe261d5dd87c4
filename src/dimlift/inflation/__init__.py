"""2D kernels to 3D kernels."""
