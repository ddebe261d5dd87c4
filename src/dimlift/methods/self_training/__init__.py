"""Joint training of segmentation from pseudo-labels and classification."""
