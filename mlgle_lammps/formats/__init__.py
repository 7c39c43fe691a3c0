"""Files of frames: the journal of a live run, H5MD and .npz; read by acquire/, written by report/."""
