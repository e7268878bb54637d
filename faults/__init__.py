"""Faults injected on purpose, and what became of each: ``python -m faults`` (``make faults``).

Every kind of fault is a module with a function ``faults``, which lists its cases for a tiny
finished run (:mod:`.tiny`). A case changes a copy of that run, runs a verb in a process of its own
(:mod:`.trial`) and judges what is there afterwards.
"""
