"""TubeViT."""
