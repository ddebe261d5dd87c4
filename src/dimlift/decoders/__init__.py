"""From maps of several resolutions to one answer for every voxel."""
