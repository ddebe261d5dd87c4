"""Mean teacher: segment points from few labels."""
