"""Models that are not trained here: published checkpoints come in, safetensors files go out.

``importing`` converts the checkpoints; it is the only place where pickles are read. ``shipped``
holds small pre-trained models and their model cards. The next room is ``tasks``.
"""
