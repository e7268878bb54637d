"""Run a training in a process of its own and kill it after some checkpoints."""

import pickle
import signal
import subprocess
import sys

from forkserver import programs

_SCRIPT = """
import os, pickle, signal, sys
sys.path[:0] = {path!r}
function, arguments, keywords, writes = pickle.load(sys.stdin.buffer)
from speechprompt.training.checkpoint import Checkpoint
original, count = Checkpoint.save, 0

def save(self, *args, **options):
    global count
    original(self, *args, **options)
    count += 1
    if count == writes:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoint.save = save
function(*arguments, **keywords)
"""


def killed_in_the_middle(function, arguments, keywords, checkpoint, writes):
    """Call a function in a process of its own and SIGKILL it after so many checkpoint writes."""
    process = subprocess.run(
        [programs() / "python", "-c", _SCRIPT.format(path=sys.path)],
        input=pickle.dumps([function, arguments, keywords, writes]),
        capture_output=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert checkpoint.exists()
