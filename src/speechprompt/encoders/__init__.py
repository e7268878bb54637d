"""Encoders: 16 kHz audio in, continuous frames out, one module each."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from speechprompt.encoders.base import Encoder
from speechprompt.errors import ConfigError

__all__ = ["Encoder", "encoder_kinds", "encoder_module", "load_encoder", "open_encoder"]

# kind, which is also the module's name -> class. A new encoder is a module and a line here.
_ENCODERS = {
    "cpc": "CpcEncoder",
    "hubert": "HubertEncoder",
    "logmel": "LogMelEncoder",
    "mfcc": "MfccEncoder",
}


def encoder_kinds() -> tuple[str, ...]:
    """The kinds that :func:`load_encoder` accepts."""
    return tuple(_ENCODERS)


def encoder_module(kind: str) -> str:
    """Name, below the package, of the module of a kind of encoder."""
    return f"encoders.{kind}"


def load_encoder(
    kind: str,
    *,
    device: str = "cpu",
    every_layer: bool = False,
    batch_seconds: float | None = None,
    **settings: Any,
) -> Encoder:
    """Build an encoder; only its own module is imported.

    Args:
        kind: One of :func:`encoder_kinds`.
        device: Torch device that it computes on.
        every_layer: Load every layer for :meth:`Encoder.encode_states`, whatever ``layer`` says.
        batch_seconds: Audio in a batch, as if all were as long as the longest; None is the
            encoder's own choice. On a processor frames are the same bits in any batch, on an
            accelerator within float32 rounding.
        **settings: The encoder's own settings, as its class documents them.

    Raises:
        ConfigError: unknown kind, or settings that it does not have or lacks.
        ArtefactError: the encoder's weights are missing, damaged or incomplete.
    """
    if kind not in _ENCODERS:
        raise ConfigError(f"encoder kind: expected one of {', '.join(_ENCODERS)}, found {kind!r}")
    build = getattr(import_module(f"speechprompt.{encoder_module(kind)}"), _ENCODERS[kind])
    if every_layer:
        settings = {**settings, **build.every_layer}
    try:
        inspect.signature(build).bind(device=device, **settings)
    except TypeError as error:
        accepted = [name for name in inspect.signature(build).parameters if name != "device"]
        raise ConfigError(
            f"encoder {kind!r}: {error}; its settings are {', '.join(accepted)}"
        ) from None
    encoder = build(device=device, **settings)
    if batch_seconds is not None:
        encoder.batch_seconds = batch_seconds
    return encoder


def open_encoder(encoder: Mapping[str, Any], device: str = "cpu") -> Encoder:
    """Do :func:`load_encoder` with settings as they are written in one value.

    Args:
        encoder: kind and settings of an encoder, such as {"kind": "mfcc", "cmvn": true}.
        device: Torch device that it computes on.
    """
    return load_encoder(**encoder, device=device)
