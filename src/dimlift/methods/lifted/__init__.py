"""Lifted 2D encoder with a decoder."""
