"""Snakemake that asks Slurm for the state of jobs every second, instead of ever less often."""

import asyncio
import sys

from snakemake.cli import main
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor


async def a_second(executor):
    await asyncio.sleep(1)


RemoteExecutor.sleep = a_second
main(sys.argv[1:])
