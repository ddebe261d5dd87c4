"""File formats: volumes, point clouds, images, label maps, archives."""
