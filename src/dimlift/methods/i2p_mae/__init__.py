"""I2P-MAE: masked point autoencoder guided by a frozen 2D network."""
