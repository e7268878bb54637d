"""Importing: published checkpoints come in, safetensors with their origin in the metadata go out.

There is a module per kind of model. Each checks a checkpoint completely: its hash, its settings,
and the name and shape of every weight. ``pickles`` reads checkpoints without running them.
"""
