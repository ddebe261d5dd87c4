"""Point-MAE and Point-M2AE: reconstruct masked patches of point clouds."""
