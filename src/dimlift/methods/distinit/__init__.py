"""DistInit: distil image classifiers into a 3D network."""
