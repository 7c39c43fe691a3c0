"""Numbers to files and pictures."""
