"""A lifted 2D encoder with a decoder."""
