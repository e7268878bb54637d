"""Evaluation: references and answers come in, metrics with intervals go out.

The baselines that answers are compared with are here too, and measures of how well units tell
phones apart. The next room is ``report``.
"""
