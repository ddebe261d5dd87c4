"""Self-training: segmentation with rounds of pseudo-labels on unlabelled volumes."""
