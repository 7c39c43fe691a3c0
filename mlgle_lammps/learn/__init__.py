"""Mode frames to a model: the GLE fit and the training of the autoregressive models."""
