"""A mock GPU: tensors that compute on the CPU, but must not be mixed with its tensors.

A GPU refuses operations between its tensors and those of the CPU, and gives NumPy no access to its
memory. So does ``mock_gpu``: within it, tensors on torch's device ``meta`` keep their numbers and
compute as the CPU does.
"""

from __future__ import annotations

from contextlib import contextmanager

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

DEVICE = "meta"
_ATEN = torch.ops.aten
# On a GPU, too, an index may be on the CPU.
_INDEXING = {_ATEN.index.Tensor, _ATEN.index_put_.default, _ATEN.index_put.default}
_INDEXING |= {_ATEN._index_put_impl_.default}
# Operations whose result, or its shape, the host waits for.
_WAITED_FOR = {
    _ATEN._local_scalar_dense.default,
    _ATEN.nonzero.default,
    _ATEN.masked_select.default,
}
READS = []
"""The operations so far by which the host read from the mock GPU."""
SENT = []
"""The operations so far that copied numbers from the host to the mock GPU."""


class MockTensor(torch.Tensor):
    """A tensor on the mock GPU; ``held`` has its numbers."""

    @staticmethod
    def __new__(cls, held):
        wrapper = torch.Tensor._make_wrapper_subclass(
            cls,
            held.shape,
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device=DEVICE,
        )
        wrapper.held = held
        return wrapper

    def __repr__(self, **_):
        return f"MockTensor({self.held!r})"

    @classmethod
    def __torch_dispatch__(cls, function, types, arguments=(), settings=None):
        return compute(function, arguments, settings or {})


class _Factories(TorchDispatchMode):
    """Catches what is made on the device or moved to it."""

    def __torch_dispatch__(self, function, types, arguments=(), settings=None):
        return compute(function, arguments, settings or {})


class _Lists(TorchFunctionMode):
    """Python's numbers would be lost on the way to ``meta``: they go by the processor."""

    def __torch_function__(self, function, types, arguments=(), settings=None):
        settings = dict(settings or {})
        if function is torch.tensor and "device" in settings:
            return torch.tensor(*arguments, **settings | {"device": "cpu"}).to(settings["device"])
        if function is torch.Tensor.__getitem__ and isinstance(arguments[0], MockTensor):
            key = tree_map(_number_list, arguments[1], is_leaf=lambda k: isinstance(k, list))
            arguments = (arguments[0], key)
        if function is torch.Tensor.tolist and isinstance(arguments[0], MockTensor):
            return arguments[0].held.tolist()
        return function(*arguments, **settings)


def _number_list(key):
    return torch.tensor(key) if isinstance(key, list) else key


@contextmanager
def mock_gpu():
    """Within this context there is a mock GPU; yields its device."""
    with _Factories(), _Lists():
        yield DEVICE


def compute(function, arguments, settings):
    """Run an operation on the numbers of the tensors, if all of them are on one device."""
    tensors = [t for t in tree_flatten((arguments, settings))[0] if isinstance(t, torch.Tensor)]
    there = [t for t in tensors if isinstance(t, MockTensor)]
    assert all(isinstance(t, MockTensor) or t.device.type != DEVICE for t in tensors), function
    here = [t for t in tensors if not isinstance(t, MockTensor) and t.dim()]
    asked = settings.get("device")
    moved_here = asked is not None and torch.device(asked).type == "cpu"
    if there and (function in _WAITED_FOR or moved_here or _has_mask(function, arguments)):
        READS.append(str(function))
    moves = asked is not None or function in (_ATEN.copy_.default,)
    if there and here and not moves:
        indexed = function in _INDEXING and isinstance(arguments[0], MockTensor)
        assert indexed, f"{function}: tensors on two devices, of shapes {[t.shape for t in here]}"
    if asked is not None:
        settings = settings | {"device": "cpu"}
    if here and (on_mock(asked) or (there and function in _INDEXING)):
        SENT.append(str(function))
    held = tree_map(lambda t: t.held if isinstance(t, MockTensor) else t, (arguments, settings))
    result = function(*held[0], **held[1])
    on_device = bool(there) if asked is None else on_mock(asked)
    if function is _ATEN.copy_.default:
        return arguments[0]
    if function._schema.is_mutable and isinstance(result, torch.Tensor):
        return arguments[0] if function.__name__.split(".")[0].endswith("_") else result
    if not on_device:
        return result
    return tree_map(lambda t: MockTensor(t) if isinstance(t, torch.Tensor) else t, result)


def on_mock(device):
    """Whether a device that may be None is the mock GPU."""
    return device is not None and torch.device(device).type == DEVICE


def _has_mask(function, arguments):
    """Whether an index is a mask, whose true values have to be counted."""
    if function not in _INDEXING:
        return False
    return any(index is not None and index.dtype == torch.bool for index in arguments[1])
