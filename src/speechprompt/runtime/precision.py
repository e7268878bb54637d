"""The number type that a job computes in."""

import os
from typing import TYPE_CHECKING, Literal, get_args

from speechprompt.errors import ConfigError

if TYPE_CHECKING:
    import torch

__all__ = ["Precision", "resolve_precision"]

Precision = Literal["fp32", "bf16", "auto"]


def resolve_precision(precision: Precision, device: str = "cpu") -> "torch.dtype":
    """The type of a name; ``auto`` is bf16 on a device that multiplies in it, else fp32.

    Raises:
        ConfigError: an unknown name.
    """
    import torch

    if precision not in get_args(Precision):
        raise ConfigError(f"precision: expected one of {get_args(Precision)}, found {precision!r}")
    if precision == "auto":
        if device == "cuda":
            fast = torch.cuda.is_bf16_supported(including_emulation=False)
        else:
            capability = torch.backends.cpu.get_cpu_capability()
            fast = capability.startswith("AVX512") and _has_bf16_flag()
        precision = "bf16" if fast else "fp32"
    if precision == "fp32":
        return torch.float32
    # torch keeps the compiled bf16 kernels of the last thousand matrix shapes. Utterances bring new
    # shapes with every batch, so that these kernels take gigabytes. One batch needs a few dozen.
    for variable in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(variable, "64")
    return torch.bfloat16


def _has_bf16_flag() -> bool:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as stream:
            flags = next(line for line in stream if line.startswith("flags"))
    except (OSError, StopIteration):
        return False
    return "avx512_bf16" in flags.split() or "amx_bf16" in flags.split()
