"""What a run needs, what there is, and how long it takes."""
