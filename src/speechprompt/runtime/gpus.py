"""GPUs and memory of this machine, found without torch, and a job's claim to one GPU.

Snakemake counts how many jobs may use a GPU, but does not choose the GPU. A job therefore locks a
free slot; the operating system releases the lock whenever and however the process ends.
"""

import fcntl
import os
import re
import stat
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path

from speechprompt.errors import ConfigError

__all__ = ["SLOTS", "claim_gpu", "gpu_slots", "gpus", "memory_mb"]

# The user's list of GPUs, such as 0,1, which replaces the search for them; empty for none.
GPUS = "SPEECHPROMPT_GPUS"
# The slots of which a job claims one: each GPU is listed as often as jobs may share it.
SLOTS = "SPEECHPROMPT_GPU_SLOTS"

_CGROUPS = ("memory.max", "memory/memory.limit_in_bytes")
_claimed: list[object] = []


def gpus(environment: Mapping[str, str] = os.environ, devices: str | Path = "/dev") -> list[str]:
    """The GPUs of this machine, by their names in ``CUDA_VISIBLE_DEVICES``.

    Args:
        environment: its ``SPEECHPROMPT_GPUS`` replaces the search, ``CUDA_VISIBLE_DEVICES``
            restricts its result.
        devices: folder of the device files.
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
    """A slot for every job that a GPU may run; the first slots are on different GPUs."""
    return [*names] * jobs_per_gpu


def claim_gpu(slots: Sequence[str], folder: str | Path | None = None) -> str:
    """Wait for a free slot and hold it until this process ends.

    Args:
        slots: the result of :func:`gpu_slots`.
        folder: folder of the lock files, which all runs of a user on a machine share.

    Returns:
        The GPU, by its name in ``CUDA_VISIBLE_DEVICES``.

    Raises:
        ConfigError: the folder is somebody else's.
    """
    from speechprompt.runtime.progress import log

    place = Path(folder or tempfile.gettempdir(), f"speechprompt-{os.getuid()}")
    place.mkdir(mode=0o700, exist_ok=True)
    status = place.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
        raise ConfigError(
            f"{place}: expected a folder of your own for the locks of GPUs, found somebody else's; "
            "set TMPDIR to a folder of yours"
        )
    waiting = False
    while True:
        seen: Counter[str] = Counter()
        for name in slots:
            seen[name] += 1
            stream = (place / f"gpu-{name.replace('/', '_')}-{seen[name]}.lock").open("a")
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
    """Total memory of this machine, or of the container that the process runs in."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    for name in _CGROUPS:
        try:
            sizes.append(int(Path(cgroups, name).read_text()))
        except (OSError, ValueError):
            continue
    return min(sizes) // 10**6


def _listed(text: str) -> list[str]:
    """The entries of a list of GPUs; as CUDA does, ignore those after an impossible one."""
    names = filter(None, (part.strip() for part in text.split(",")))
    return list(takewhile(lambda name: not name.startswith("-"), names))


def _count_by_driver() -> int:
    """Count the GPUs that the driver lists; WSL, for instance, has no device files for them."""
    try:
        listing = subprocess.run(
            ["nvidia-smi", "-L"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return 0
    return len(re.findall(r"^GPU \d+:", listing.stdout, re.MULTILINE))
