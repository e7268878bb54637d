"""The machine: its description, its speed of matrix products, and the memory of a process."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import resource
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

__all__ = [
    "describe_machine",
    "has_bf16",
    "has_bf16_matrix_units",
    "matrix_peak",
    "peak_memory",
    "waiting_for",
]

_PACKAGES = ("torch", "fairseq", "transformers", "peft", "speechprompt")
_MATRIX_UNITS = ("amx_bf16",)
_BF16_FLAGS = ("avx512_bf16", *_MATRIX_UNITS)


def describe_machine(threads: int, device: str = "cpu") -> dict[str, Any]:
    """Processor or GPU, memory and versions, for the report."""
    info = _cpu_info()
    return {
        "gpu": None if device == "cpu" else _gpu_name(),
        "processor": info.get("model name", platform.processor() or platform.machine()),
        "cores": os.cpu_count(),
        "threads": threads,
        "bf16_flags": [flag for flag in _BF16_FLAGS if flag in info.get("flags", "").split()],
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def has_bf16(machine: dict[str, Any]) -> bool:
    """Whether the CPU or the GPU multiplies in bf16."""
    return bool(machine["bf16_flags"] or machine.get("gpu"))


def has_bf16_matrix_units(machine: dict[str, Any]) -> bool:
    """Whether the CPU has units that multiply whole tiles of bf16 numbers."""
    return any(flag in machine["bf16_flags"] for flag in _MATRIX_UNITS)


def matrix_peak(
    precision: str, seconds: float = 0.6, *, laid_out: bool = False, device: str = "cpu"
) -> dict[str, Any]:
    """The highest rate of large products, ``x @ weight.T + bias``, with the 151M model's sizes.

    It is the best of several shapes and of several rounds of a tenth of a second.

    Args:
        precision: fp32 or bf16.
        seconds: time for each shape.
        laid_out: whether the weight is in oneDNN's memory layout, as in the encoder.
        device: cpu or cuda; a GPU also gets larger products, which alone use all of it.

    Returns:
        ``gflops`` and the ``shape`` (rows, in, out) that reached it.
    """
    import torch
    import torch.nn.functional as F

    from speechprompt.encoders.linear import Product

    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    wait = waiting_for(device)
    best: dict[str, Any] = {"gflops": 0.0, "shape": None}
    shapes = list(product((1024, 2048, 4096), ((1024, 4096), (4096, 1024))))
    if device != "cpu":
        shapes += product((4096, 8192, 16_384), ((4096, 4096), (8192, 8192)))
    with torch.device(device):
        for rows, (inner, outer) in shapes:
            x = torch.randn(rows, inner).to(dtype)
            weight, bias = torch.randn(outer, inner).to(dtype), torch.randn(outer).to(dtype)
            if laid_out:
                multiply = partial(Product(weight, bias), x)
            else:
                multiply = partial(F.linear, x, weight, bias)
            multiply()
            fastest, end = float("inf"), time.perf_counter() + seconds
            while time.perf_counter() < end:
                fastest = min(fastest, _seconds_per_call(multiply, wait))
            gflops = 2e-9 * rows * inner * outer / fastest
            if gflops > best["gflops"]:
                best = {"gflops": round(gflops, 1), "shape": [rows, inner, outer]}
    return best


def waiting_for(device: str) -> Callable[[], None]:
    """A function that waits until a GPU has computed all that it was given; a CPU already has."""
    if device != "cuda":
        return lambda: None
    import torch

    return torch.cuda.synchronize


def peak_memory(device: str = "cpu") -> int:
    """The largest resident memory of this process so far, in bytes; for a GPU, its tensors'."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    # On Linux ru_maxrss includes the parent's memory; the high-water mark is the process's own.
    try:
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) * 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _seconds_per_call(
    call: Callable[[], object], wait: Callable[[], None], round_seconds: float = 0.1
) -> float:
    """The mean over a round, which is more stable than the time of a single call."""
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < round_seconds:
        call()
        n += 1
        if n % 10 == 0:
            wait()  # so that calls do not queue up
    wait()
    return (time.perf_counter() - start) / n


def _gpu_name() -> str:
    import torch

    from speechprompt.runtime.device import resolve_device

    resolve_device("cuda")
    return torch.cuda.get_device_name()


def _cpu_info() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
