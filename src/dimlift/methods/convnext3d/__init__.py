"""Inflated ConvNeXt for classification."""
