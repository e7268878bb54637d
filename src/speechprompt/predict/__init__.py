"""Prediction: a task's folder and new recordings come in, answers go out.

``task_folder`` finds the models of a task, ``predictor`` runs them, and ``answer`` writes what they
predict as text or JSON. The next room is ``inspect``.
"""
