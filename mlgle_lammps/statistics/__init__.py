"""Arrays in, numbers with errors out: moments, covariances, correlations."""
