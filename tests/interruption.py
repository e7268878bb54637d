"""Run a training in a process of its own and kill it after some checkpoints."""

import json
import signal
import subprocess
import sys

_SCRIPT = """
import importlib, json, os, signal, sys
sys.path[:0] = {path!r}
target, arguments, keywords, writes = json.loads(sys.stdin.read())
from speechprompt.training.checkpoint import Checkpoint
original, count = Checkpoint.save, 0

def save(self, *args, **options):
    global count
    original(self, *args, **options)
    count += 1
    if count == writes:
        os.kill(os.getpid(), signal.SIGKILL)

Checkpoint.save = save
module, name = target.split(":")
function = getattr(importlib.import_module(module), name)
if "examples" in keywords:
    from random_models import learnable_examples
    arguments = [learnable_examples(**options) for options in keywords.pop("examples")]
function(*arguments, **keywords)
"""


def killed_in_the_middle(target, arguments, keywords, checkpoint, writes):
    """Call ``module:function`` and SIGKILL it after so many checkpoint writes."""
    process = subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(path=sys.path)],
        input=json.dumps([target, arguments, keywords, writes]),
        text=True,
        capture_output=True,
        check=False,
    )
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert checkpoint.exists()
