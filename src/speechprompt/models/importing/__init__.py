"""Importing: published checkpoints come in, safetensors with their origin in the metadata go out.

Every checkpoint is checked in full: its hash, its settings, and the name and shape of each weight.
"""
