"""Training: the loop that all trainings share, with its schedule, sampling and checkpoints.

A function that computes the gradient of one batch comes in; the parameters with the best loss on
held-out utterances and a learning curve go out. ``pretraining``, ``lm``, ``prompting`` and
``downstream`` use it.
"""
