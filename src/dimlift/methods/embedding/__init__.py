"""Features of a pretrained network, without training."""
