"""Other people's files: trajectories in, beads out."""
