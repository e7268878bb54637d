"""What a job computes on: device and number of threads, as configured, never as found by chance."""

from __future__ import annotations

from speechprompt.errors import ConfigError

__all__ = ["resolve_device", "set_compute_threads"]


def set_compute_threads(count: int) -> None:
    """Fix the threads of torch and of the BLAS libraries; results depend on their number."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    threadpool_limits(count)


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
