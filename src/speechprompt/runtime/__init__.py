"""The machine that a job runs on: device, number type, GPU slots, memory and progress bars.

A job's settings come in; a torch device, a number of threads and log messages go out. Results
depend on this room by rounding only. The next room is ``audio``.
"""
