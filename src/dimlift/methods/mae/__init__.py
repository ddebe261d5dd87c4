"""Masked autoencoding of volumes."""
