"""What at least two rooms need, and nothing else."""
