"""The published way of learning the modes (JCP 3.1-3.4, as mended): a network, its training, its steps, its model."""

REMEDY = "use --preset default"
"""What to do where it generates badly."""
