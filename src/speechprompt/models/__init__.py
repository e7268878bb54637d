"""Models that are not trained here: shipped with the package, or imported from checkpoints.

``shipped`` holds small pre-trained models and their cards. ``importing`` turns published
checkpoints into safetensors; it is the only place where a pickle is read. The next room is
``tasks``.
"""
