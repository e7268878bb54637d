"""What a job computes on: device and number of threads, as configured, never as found by chance."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from speechprompt.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, device

__all__ = ["make_deterministic", "resolve_device", "set_compute_threads", "to_device"]


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


def make_deterministic(name: str) -> None:
    """Have a GPU add up in a fixed order, so that trainings give the same bytes there too.

    An operation without such an order raises a RuntimeError. Processors have one anyway.
    """
    if name != "cuda":
        return
    import torch

    # Read when the first product is computed; without it, cuBLAS may choose between its streams.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory before it writes it.
    torch.utils.deterministic.fill_uninitialized_memory = False


def to_device(tensor: Tensor, where: str | device) -> Tensor:
    """Move a tensor; to a GPU by pinned memory, so that nothing waits for the copy."""
    if str(where).startswith("cuda") and tensor.device.type == "cpu":
        return tensor.pin_memory().to(where, non_blocking=True)
    return tensor.to(where)
