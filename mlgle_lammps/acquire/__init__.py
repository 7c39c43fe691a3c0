"""LAMMPS to frames: the deck, the driver, checkpoints of MD."""
