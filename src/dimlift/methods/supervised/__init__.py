"""Supervised training of volumes and points."""
