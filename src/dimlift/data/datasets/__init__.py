"""Datasets on disk: layouts, splits, inputs of inference."""
