"""Volumes and point clouds behind one interface."""
