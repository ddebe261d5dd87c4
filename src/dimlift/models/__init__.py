"""Whole networks, built from an encoder, a decoder and a head."""
