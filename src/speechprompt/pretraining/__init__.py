"""Pre-training of encoders on unlabelled audio, against units of an earlier codebook."""
