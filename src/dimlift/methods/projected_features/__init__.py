"""Image features projected onto point clouds."""
