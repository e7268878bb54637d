"""Encoders: 16 kHz waveforms come in, continuous frames go out, with one module per encoder.

The next room, ``units``, turns frames into units.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from speechprompt.encoders.base import Encoder
from speechprompt.errors import ConfigError

__all__ = ["ENCODERS", "Encoder", "load_encoder", "open_encoder"]

# The kind of an encoder, which is also the name of its module, and its class.
ENCODERS = {
    "cpc": "CpcEncoder",
    "hubert": "HubertEncoder",
    "logmel": "LogMelEncoder",
    "mfcc": "MfccEncoder",
    "wav2vec2": "Wav2Vec2Encoder",
    "wavlm": "WavLmEncoder",
}


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
        kind: A key of :data:`ENCODERS`.
        device: Torch device.
        every_layer: Load all layers, for :meth:`Encoder.encode_states`, whatever ``layer`` says.
        batch_seconds: Audio in a batch, padding included; None is the encoder's own choice. On a
            CPU, frames are the same bits in any batch; on an accelerator they agree within
            float32 rounding.
        **settings: The settings of the encoder's class.

    Raises:
        ConfigError: the kind is unknown, or a setting is unknown or missing.
        ArtefactError: the encoder's weights are missing, damaged or incomplete.
    """
    if kind not in ENCODERS:
        raise ConfigError(f"encoder kind: expected one of {', '.join(ENCODERS)}, found {kind!r}")
    build = getattr(import_module(f"speechprompt.encoders.{kind}"), ENCODERS[kind])
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
    """Do :func:`load_encoder` with kind and settings in one value.

    Args:
        encoder: kind and settings of an encoder, such as {"kind": "mfcc", "cmvn": true}.
        device: Torch device.
    """
    return load_encoder(**encoder, device=device)
