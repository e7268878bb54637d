"""Inspection: any file of a run comes in, a description of its content goes out.

The next room is ``cli``.
"""
