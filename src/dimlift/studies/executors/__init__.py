"""Where the runs of a study are executed: processes, Ray, SLURM."""
