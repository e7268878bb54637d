"""Training: the loop that all trainings share, with its schedule, sampling and checkpoints.

A model that can compute the gradient of one batch comes in. The parameters with the best loss on
held-out utterances and a learning curve go out. ``pretraining``, ``lm``, ``prompting`` and
``downstream`` use it.
"""
