"""The module that nnU-Net finds by its name."""
