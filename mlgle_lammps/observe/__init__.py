"""Trajectories to numbers with errors."""
