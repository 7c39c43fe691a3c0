"""LAMMPS, or a recording of it, to mode frames."""
