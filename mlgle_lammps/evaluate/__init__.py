"""One evaluator: any stream of frames against MD, whoever made it; diagnoses of streams and fits."""
