"""From the MD ranks to the trainer, frame by frame."""
