"""Where the cells of a study run: here, in processes, on a Ray cluster, on SLURM."""
