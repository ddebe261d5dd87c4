"""Dataset layouts on disk: which case has which files."""
