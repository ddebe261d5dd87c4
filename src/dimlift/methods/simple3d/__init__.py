"""Simple3D-Former."""
