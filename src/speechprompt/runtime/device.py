"""Device and number of threads of a job, which its settings decide."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from speechprompt.errors import ConfigError

if TYPE_CHECKING:
    from torch import Tensor, device

__all__ = [
    "in_any_order",
    "make_deterministic",
    "resolve_device",
    "set_compute_threads",
    "to_device",
]


def set_compute_threads(count: int) -> None:
    """Set the threads of torch and of the BLAS libraries; rounding depends on their number."""
    import torch
    from threadpoolctl import threadpool_limits

    torch.set_num_threads(count)
    threadpool_limits(count)


def resolve_device(name: str) -> str:
    """Replace ``auto`` by ``cuda`` on a machine with a GPU that torch can use, else by ``cpu``.

    Raises:
        ConfigError: this is no device, or ``cuda`` on a machine without such a GPU.
    """
    import torch

    if name not in ("auto", "cpu", "cuda"):
        raise ConfigError(f"device: expected auto, cpu or cuda, found {name!r}")
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device: cuda is configured but this machine has none; use cpu or auto")
    return name


def make_deterministic(name: str) -> None:
    """Make a GPU add up in a fixed order, so that trainings on it give the same bytes.

    An operation that has no such order raises a RuntimeError. CPUs always have one.
    """
    if name != "cuda":
        return
    import torch

    # cuBLAS reads this at its first product. Without it, its choice of a stream may vary.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory before writing it, so filling it first would only cost time.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # torch declares no type for it


@contextmanager
def in_any_order() -> Iterator[None]:
    """Let operations here ignore :func:`make_deterministic`: those that write no place twice.

    The order that they would be given costs a GPU a sort of the places.
    """
    import torch

    ordered = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(False)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(ordered)


def to_device(tensor: "Tensor", where: "str | device") -> "Tensor":
    """Move a tensor; pinned memory lets the host go on while a GPU copies."""
    if str(where).startswith("cuda") and tensor.device.type == "cpu":
        return tensor.pin_memory().to(where, non_blocking=True)
    return tensor.to(where)


def to_host(tensor: "Tensor") -> "Tensor":
    """Move a tensor to the CPU; a GPU copies faster to pinned memory."""
    import torch

    if tensor.device.type != "cuda":
        return tensor.cpu()
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    torch.cuda.current_stream(tensor.device).synchronize()
    return host
