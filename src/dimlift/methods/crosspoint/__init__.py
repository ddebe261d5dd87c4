"""CrossPoint: contrast between point clouds and images of them."""
