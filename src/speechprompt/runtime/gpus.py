"""What this machine has, found without torch: GPUs and memory, and a job's claim to one GPU.

Snakemake counts how many jobs may use a GPU, but does not say which: a job takes a free slot by a
lock that the system gives back when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["SLOTS", "claim_gpu", "gpu_slots", "gpus", "memory_mb"]

# A user's own list in place of what is found, such as 0,1; empty for none.
GPUS = "SPEECHPROMPT_GPUS"
# What a job may choose from: a GPU stands there as often as jobs may share it.
SLOTS = "SPEECHPROMPT_GPU_SLOTS"

_CGROUPS = ("memory.max", "memory/memory.limit_in_bytes")
_claimed: list[object] = []


def gpus(environment: Mapping[str, str] = os.environ, devices: str | Path = "/dev") -> list[str]:
    """The GPUs of this machine, as ``CUDA_VISIBLE_DEVICES`` names them.

    Args:
        environment: ``SPEECHPROMPT_GPUS`` overrides what is found, ``CUDA_VISIBLE_DEVICES``
            restricts it.
        devices: where device files are.
    """
    if GPUS in environment:
        return _listed(environment[GPUS])
    count = sum(bool(re.fullmatch(r"nvidia\d+", path.name)) for path in Path(devices).glob("nv*"))
    count = count or _count_by_driver()
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return [str(number) for number in range(count)]
    return _listed(visible)[:count]


def gpu_slots(names: Sequence[str], jobs_per_gpu: int) -> list[str]:
    """Each GPU as often as jobs share it, such that the first ones are all different."""
    return [*names] * jobs_per_gpu


def claim_gpu(slots: Sequence[str], folder: str | Path | None = None) -> str:
    """Wait for a free slot and hold it until this process ends.

    Args:
        slots: of :func:`gpu_slots`.
        folder: where the lock files are, one for all runs of a user on a machine.

    Returns:
        The GPU, as ``CUDA_VISIBLE_DEVICES`` names it.
    """
    from speechprompt.runtime.progress import log

    place = Path(folder or tempfile.gettempdir(), f"speechprompt-{os.getuid()}")
    place.mkdir(mode=0o700, exist_ok=True)
    waiting = False
    while True:
        seen: Counter[str] = Counter()
        for name in slots:
            seen[name] += 1
            stream = (place / f"gpu-{name.replace('/', '_')}-{seen[name]}.lock").open("w")
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                stream.close()
                continue
            _claimed.append(stream)
            return name
        if not waiting:
            log(f"waiting for one of {len(slots)} GPU slots")
            waiting = True
        time.sleep(0.5)


def memory_mb(cgroups: str | Path = "/sys/fs/cgroup") -> int:
    """Memory that this machine, or the container that this runs in, has in all."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _CGROUPS:
        try:
            sizes.append(int(Path(cgroups, name).read_text()))
        except (OSError, ValueError):
            continue
    return min(sizes) // 10**6


def _listed(text: str) -> list[str]:
    """As CUDA reads its list: what follows an impossible entry does not count."""
    names: list[str] = []
    for name in filter(None, (part.strip() for part in text.split(","))):
        if name.startswith("-"):
            break
        names.append(name)
    return names


def _count_by_driver() -> int:
    """Where there are no device files of their own, as under WSL."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return len(re.findall(r"^GPU \d+:", listing.stdout, re.MULTILINE))
