"""From the MD ranks to the learner, frame by frame."""
