"""The stages wired together: frames in, records and files out. Knows neither LAMMPS nor MPI."""
