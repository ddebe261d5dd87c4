"""Networks for point clouds, trained from labels."""
