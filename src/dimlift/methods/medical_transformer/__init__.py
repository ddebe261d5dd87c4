"""Medical Transformer."""
