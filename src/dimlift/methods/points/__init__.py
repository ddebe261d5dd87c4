"""Methods for point clouds."""
