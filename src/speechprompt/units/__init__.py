"""Units: frames of an encoder come in, discrete units go out.

``extraction`` writes frames, ``codebook`` fits k-means centroids to a sample of them, and
``quantization`` assigns each frame to the nearest centroid. ``feature_files`` and ``unit_files``
define the files. ``text_corpus`` reads units that others made. The next room is ``training``.
"""
