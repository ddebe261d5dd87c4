"""Borrowed features: what a frozen 2D network sees in every slice, as extra channels of a small 3D U-Net."""
