"""Distillation of the 2D teacher on images during 3D training."""
