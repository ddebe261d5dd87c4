"""Checks of datasets before any work starts."""
