"""Every way from displacements to D: the GLE fit, the slope, the classical baselines."""
