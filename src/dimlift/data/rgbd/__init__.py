"""Posed RGB-D recordings."""
