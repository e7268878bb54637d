"""Snakemake that asks Slurm for the state of jobs every second, instead of ever less often.

``python impatient.py PYTHON ARGUMENTS...``: in a job, PYTHON starts the Snakemake that starts the
job's step.
"""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor

PYTHON, ARGUMENTS = sys.argv[1], sys.argv[2:]


async def a_second(executor):
    await asyncio.sleep(1)


RemoteExecutor.sleep = a_second
RemoteExecutor.get_python_executable = lambda executor: PYTHON
main(ARGUMENTS)
