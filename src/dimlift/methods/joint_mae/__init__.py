"""Joint-MAE: masked autoencoder of point clouds and their depth images."""
