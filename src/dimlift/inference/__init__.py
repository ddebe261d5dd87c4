"""Prediction with a trained network: windows, ensembles, files, the hub."""
