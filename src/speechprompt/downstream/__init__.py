"""Downstream models (FT-DM): audio and labels come in, a trained head and its answers go out.

The head reads a learned sum of the layers of a frozen encoder, as in SUPERB. The next room is
``evaluation``.
"""
