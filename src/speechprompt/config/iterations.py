"""Encoders that are made from others: by their units, from their weights, or as another layer."""

from collections.abc import Mapping
from typing import Any

from speechprompt.audio.front_end import FRAME_RATE
from speechprompt.config.encoders import (
    AnyEncoder,
    CpcEncoder,
    HubertEncoder,
    HubertPretraining,
    LogMelEncoder,
    Wav2Vec2Encoder,
)
from speechprompt.config.models import AnyCodebook, ExternalCodebook
from speechprompt.config.references import require
from speechprompt.downloads.assets import ASSETS

__all__ = ["check_encoders", "check_layer"]

Encoders = Mapping[str, AnyEncoder]
Codebooks = Mapping[str, AnyCodebook]


def check_encoders(encoders: Encoders, codebooks: Codebooks) -> None:
    """Check that what an encoder is made from is there, fits it, and is not the encoder itself.

    Args:
        encoders: all encoders by name.
        codebooks: all codebooks by name.

    Raises:
        ValueError: naming the key, and what is wrong with it.
    """
    for name, encoder in encoders.items():
        _check_shared_weights(name, encoder, encoders)
        _check_layer(name, encoder, encoders)
        if (pretraining := getattr(encoder, "pretraining", None)) is not None:
            key = f"encoders.{name}.pretraining"
            _check_targets(f"{key}.targets", pretraining.targets, encoders, codebooks)
            if pretraining.start is not None:
                _check_start(f"{key}.start", pretraining, encoders)
    for name in encoders:
        _refuse_circle(name, encoders, codebooks)


def _check_shared_weights(name: str, encoder: Any, encoders: Encoders) -> None:
    if (shared := getattr(encoder, "weights_of", None)) is None:
        return
    key = f"encoders.{name}.weights_of"
    require(key, shared, encoders)
    other = encoders[shared]
    if other.kind != encoder.kind or getattr(other, "weights_of", None) is not None:
        raise ValueError(f"{key}: {shared!r} has no weights of its own of kind {encoder.kind}")


def check_layer(encoder: str, layer: int, n_layers: int, model: str) -> None:
    """Check that a model has the layer that an encoder reads.

    Args:
        encoder: name of the encoder.
        layer: the layer, from 1.
        n_layers: layers of the model.
        model: what the model is called in the message.

    Raises:
        ValueError: it has fewer.
    """
    if layer > n_layers:
        raise ValueError(
            f"encoders.{encoder}.layer: expected 1 to {n_layers}, the layers of {model}, "
            f"found {layer}"
        )


def _check_layer(name: str, encoder: Any, encoders: Encoders) -> None:
    """Check a layer of a model that is trained here or published."""
    source: Any = encoders.get(getattr(encoder, "weights_of", None) or name, encoder)
    if (pretraining := getattr(source, "pretraining", None)) is not None:
        check_layer(name, encoder.layer, pretraining.layers, "its pre-training")
    elif (asset := ASSETS.get(getattr(source, "checkpoint", None) or "")) and asset.layers:
        check_layer(name, encoder.layer, asset.layers, asset.name)


def _check_targets(key: str, targets: str, encoders: Encoders, codebooks: Codebooks) -> None:
    """Check that there is audio behind the units to predict, and that each stands for a frame."""
    require(key, targets, codebooks)
    book = codebooks[targets]
    if isinstance(book, ExternalCodebook):
        raise ValueError(f"{key}: {targets!r} is external")
    require(f"codebooks.{targets}.encoder", book.encoder, encoders)
    if isinstance(encoders[book.encoder], CpcEncoder | LogMelEncoder):
        raise ValueError(
            f"{key}: expected a codebook of {FRAME_RATE:g} frames/s, and {targets!r} is of encoder "
            f"{book.encoder!r}, which has 100"
        )


def _check_start(key: str, pretraining: HubertPretraining, encoders: Encoders) -> None:
    """Check that the encoder to go on from has weights of the same shape, where that is known."""
    start = pretraining.start or ""
    require(key, start, encoders)
    other = encoders[start]
    if not isinstance(other, HubertEncoder | Wav2Vec2Encoder):
        raise ValueError(f"{key}: {start!r} must be of kind hubert, found {other.kind}")
    source = encoders.get(other.weights_of or start, other)
    if (before := getattr(source, "pretraining", None)) is None:
        return
    for field in HubertPretraining.SHAPE:
        here, there = getattr(pretraining, field), getattr(before, field)
        if here != there:
            raise ValueError(f"{key}: {start!r} has {field} {there}, not {here}")


def _refuse_circle(name: str, encoders: Encoders, codebooks: Codebooks) -> None:
    """Check that an encoder is not made from itself, at once or by way of others."""
    for key, encoder in _made_from(encoders[name], codebooks).items():
        ahead, passed = [encoder], set[str]()
        while ahead:
            if (other := ahead.pop()) == name:
                raise ValueError(f"encoders.{name}.{key}: encoder {name!r} would learn from itself")
            if other not in passed:
                passed.add(other)
                ahead += _made_from(encoders[other], codebooks).values()


def _made_from(encoder: Any, codebooks: Codebooks) -> dict[str, str]:
    """The encoders that one is made from, by the key that names them."""
    found = {"weights_of": getattr(encoder, "weights_of", None)}
    if (pretraining := getattr(encoder, "pretraining", None)) is not None:
        book: Any = codebooks[pretraining.targets]
        found |= {"pretraining.start": pretraining.start, "pretraining.targets": book.encoder}
    return {key: other for key, other in found.items() if other is not None}
