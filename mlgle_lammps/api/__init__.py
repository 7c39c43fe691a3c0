"""What a notebook calls; `mlgle_lammps` itself offers all of it by name, loaded where it is first used."""
