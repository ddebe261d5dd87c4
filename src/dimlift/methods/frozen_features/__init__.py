"""Features of a frozen 2D network, fused into a 3D U-Net."""
