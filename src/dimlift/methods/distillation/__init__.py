"""Distillation of 2D teachers into 3D networks."""
