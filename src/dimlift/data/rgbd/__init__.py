"""RGB-D recordings and posed images."""
