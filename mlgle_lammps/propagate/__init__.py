"""A model to long trajectories."""
