"""Report: metrics, learning curves and predictions become pictures, tables and a page.

The next room is ``predict``, which uses what was trained.
"""
