"""Pre-training of encoders: unlabelled audio and the units of an earlier codebook come in.

A HuBERT goes out, which ``encoders.hubert`` reads. The next room is ``lm``.
"""
