"""Chain diffusion coefficients of polymer melts from short LAMMPS runs, by ML-GLE learned online."""

__version__ = "0.2.0"
