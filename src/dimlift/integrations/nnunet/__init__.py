"""An nnU-Net trainer with frozen 2D features."""
