"""dimlift."""
