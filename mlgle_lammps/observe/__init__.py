"""Frames to observables."""
