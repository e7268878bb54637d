"""Units: frames of an encoder come in, discrete units go out.

``extraction`` writes frames, ``codebook`` fits k-means centroids to a sample of them, and
``quantization`` assigns each frame to the nearest centroid. ``text_corpus`` reads units that
somebody else made. The next rooms train models on units: ``training``, ``pretraining`` and ``lm``.
"""
