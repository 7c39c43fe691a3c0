"""Statistics of displacements which several stages use; pure numpy, no stage of its own."""
