"""Parts shared by the pretraining routes for point networks: configuration bases, masking, depth images."""
