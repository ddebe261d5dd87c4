"""Point clouds, cameras and voxel grids as pure functions of tensors on any device. Lengths in metres."""
