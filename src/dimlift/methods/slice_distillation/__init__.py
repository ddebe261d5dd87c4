"""Slice distillation: a 3D network predicts the slice features of a frozen 2D network."""
