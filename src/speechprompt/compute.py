"""What a job computes on: device and number of threads, as configured, never as found by chance."""

from __future__ import annotations

import ctypes
import sys

from speechprompt.errors import ConfigError

__all__ = ["resolve_device", "set_compute_threads"]

# mallopt(3) of glibc: M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX.
_KEEP_FREED_MEMORY = ((-1, 2**31 - 1), (-4, 0), (-8, 1))


def set_compute_threads(count: int) -> None:
    """Fix the threads of torch and of the BLAS libraries; results depend on their number.

    Freed memory stays with the process: by default every large tensor is given back and paged in
    anew, which costs training on the processor several percent.
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    threadpool_limits(count)
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for option, value in _KEEP_FREED_MEMORY:
            libc.mallopt(option, value)


def resolve_device(name: str) -> str:
    """Turn ``auto`` into ``cuda`` where there is one, else ``cpu``.

    Raises:
        ConfigError: ``cuda`` is asked for on a machine without one.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda is configured but this machine has none; use cpu or auto")
    return name
