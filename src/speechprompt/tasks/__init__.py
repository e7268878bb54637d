"""Tasks: label columns of a split come in, label indices and label units go out.

A task type says what an answer is (a class per column, a transcript, slots), and the verbalizer
maps each label to a unit. The next room is ``prompting``.
"""
