"""The file that nnU-Net finds by its name."""
