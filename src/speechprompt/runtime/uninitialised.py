"""Building modules without initial weights, to load weights into them or to know their shapes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

__all__ = ["without_initial_values", "without_weights"]


def without_initial_values() -> TorchFunctionMode:
    """Build modules with undefined weights, to be loaded later; no random number is drawn."""
    return _NoInitialValues()


@contextmanager
def without_weights() -> Iterator[None]:
    """Build modules on torch's meta device: their weights have shapes but no memory and no values.

    Initialisation is left out as well: on the meta device it makes torch import its compiler, which
    takes longer than reading the weights of a small model.
    """
    with torch.device("meta"), without_initial_values():
        yield


# What functions of ``torch.nn.init`` that do not consult function modes call, and scaling of draws.
_DRAWS = (torch.Tensor.uniform_, torch.Tensor.normal_, torch.Tensor.mul_)


class _NoInitialValues(TorchFunctionMode):
    """Makes initialisation do nothing; the norm of a weight is an uninitialised tensor."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(function, "__module__", None) == "torch.nn.init" or function in _DRAWS:
            return args[0] if args else kwargs["tensor"]
        if function is torch.norm_except_dim:
            weight, _, dim = args
            return weight.new_empty([n if i == dim else 1 for i, n in enumerate(weight.shape)])
        return function(*args, **kwargs)
