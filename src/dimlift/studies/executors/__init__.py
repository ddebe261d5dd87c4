"""Where the runs of a study are executed: local processes, a Ray cluster, SLURM."""
