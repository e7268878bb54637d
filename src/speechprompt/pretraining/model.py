"""HuBERT with masked prediction: torchaudio's model with a faster loss."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchaudio.models import HuBERTPretrainModel, hubert_pretrain_model

from speechprompt.audio.front_end import MEL_PHASES, MEL_RANGE_HZ
from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.config.encoders import HubertPretraining

__all__ = [
    "MaskedPrediction",
    "build_hubert",
    "masked_prediction",
    "mel_bank",
    "model_config",
]

TEMPERATURE = 0.1


def model_config(settings: HubertPretraining) -> dict[str, Any]:
    """The configuration that :mod:`speechprompt.encoders.hubert` describes.

    Each convolution is ``[channels, kernel, stride]``; together they have the published window and
    shift, 50 frames/s. Each is followed by a LayerNorm over channels, as in HuBERT large, so that
    padding has no influence, and the layers normalise first.
    """
    dropout = settings.dropout
    return {
        "extractor_mode": "layer_norm",
        "extractor_conv_layer_config": settings.convolutions,
        "extractor_conv_bias": True,
        "encoder_embed_dim": settings.dim,
        "encoder_projection_dropout": dropout,
        "encoder_pos_conv_kernel": settings.position_kernel,
        "encoder_pos_conv_groups": settings.position_groups,
        "encoder_num_layers": settings.layers,
        "encoder_num_heads": settings.heads,
        "encoder_attention_dropout": dropout,
        "encoder_ff_interm_features": settings.ffn,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": dropout,
        "encoder_layer_norm_first": True,
        "encoder_layer_drop": 0.0,
        "normalize_waveform": True,
    }


def build_hubert(settings: HubertPretraining, n_targets: int) -> HuBERTPretrainModel:
    """Build torchaudio's HuBERT with random weights and a prediction head.

    The targets' embeddings start as normal random numbers. torchaudio's are positive and all point
    the same way, so that learning starts with a plateau.

    Args:
        settings: shape of the model, what is masked, and whether the first convolution starts as a
            bank of filters, see :func:`mel_bank`.
        n_targets: number of units to predict.
    """
    config = model_config(settings)
    arguments = {key: value for key, value in config.items() if key != "normalize_waveform"}
    model = hubert_pretrain_model(
        **arguments,
        mask_prob=settings.mask_share,
        mask_selection="static",
        mask_other=0.0,
        mask_length=settings.mask_length,
        no_mask_overlap=False,
        mask_min_space=1,
        mask_channel_prob=0.0,
        mask_channel_selection="static",
        mask_channel_other=0.0,
        mask_channel_length=settings.mask_length,
        no_mask_channel_overlap=False,
        mask_channel_min_space=1,
        skip_masked=False,
        skip_nomask=True,
        num_classes=n_targets,
        final_dim=min(256, config["encoder_embed_dim"]),
        feature_grad_mult=None,
    )
    nn.init.normal_(model.logit_generator.label_embeddings)
    if settings.mel_filters:
        first = model.wav2vec2.feature_extractor.conv_layers[0].conv
        with torch.no_grad():
            first.weight.copy_(mel_bank(*first.weight.shape[::2])[:, None])
            first.bias.zero_()
    return model


def mel_bank(n_filters: int, kernel: int) -> Tensor:
    """A bank of filters ``[n_filters, kernel]`` at 16 kHz: Gabor wavelets, evenly spaced in mel.

    Four neighbours have one frequency and are a quarter of a period apart. Each has norm 1.

    Args:
        n_filters: a multiple of four.
        kernel: length of each, at least :data:`~speechprompt.audio.front_end.SHORTEST_MEL_FILTER`
            samples.
    """
    low, high = (2595 * np.log10(1 + hz / 700) for hz in MEL_RANGE_HZ)
    edges = 700 * (10 ** (np.linspace(low, high, n_filters // MEL_PHASES + 2) / 2595) - 1)
    frequencies, widths = edges[1:-1, None], (edges[2:, None] - edges[:-2, None]) / 2
    time = (np.arange(kernel) - (kernel - 1) / 2) / SAMPLE_RATE
    deviation = np.minimum(kernel / SAMPLE_RATE / 5, 0.75 / (np.pi * widths))
    envelope = np.exp(-0.5 * (time / deviation) ** 2)
    angle = 2 * np.pi * frequencies * time
    bank = np.stack([np.cos(angle), -np.cos(angle), np.sin(angle), -np.sin(angle)], 1)
    bank *= envelope[:, None]
    bank -= bank.mean(-1, keepdims=True)
    bank /= np.linalg.norm(bank, axis=-1, keepdims=True)
    return torch.from_numpy(bank.reshape(n_filters, kernel).astype(np.float32))


class MaskedPrediction(NamedTuple):
    """The loss of one batch.

    Attributes:
        total: () summed cross-entropy in nats, each frame by its weight, differentiable.
        weight: sum of the weights of the frames in it.
        n_masked: number of masked frames.
        n_correct: () number of masked frames whose unit is predicted.
    """

    total: Tensor
    weight: float
    n_masked: int
    n_correct: Tensor


def masked_prediction(
    model: HuBERTPretrainModel, waveforms: Tensor, targets: Tensor, unmasked_weight: float = 0.0
) -> MaskedPrediction:
    """HuBERT's loss; torch's random numbers choose the masks.

    It equals the cross-entropy of what torchaudio's model returns. There the cosine similarities of
    every frame with every target take a third of a small model's time; here they are one product.

    Args:
        model: a model of :func:`build_hubert`.
        waveforms: ``[B, n_samples]``, all of one length.
        targets: units ``[B, n_frames]``.
        unmasked_weight: weight of the frames that are not masked; masked frames have 1.
    """
    normalised = F.layer_norm(waveforms, waveforms.shape[1:])
    features, _ = model.wav2vec2.feature_extractor(normalised, None)
    x, _ = model.wav2vec2.encoder._preprocess(features)
    x, mask = model.mask_generator(x, None)
    x = model.wav2vec2.encoder.transformer(x).flatten(0, 1)
    mask, targets = mask.flatten(), targets.flatten()
    head = model.logit_generator

    def predict(frames: Tensor) -> tuple[Tensor, Tensor]:
        # Not x[mask]: with several threads the order in which its backward adds up changes.
        chosen = frames.nonzero()[:, 0]
        projected = F.normalize(head.final_proj(x.index_select(0, chosen)).float())
        scores = F.linear(projected, F.normalize(head.label_embeddings)).float() / TEMPERATURE
        wanted = targets.index_select(0, chosen)
        n_correct = (scores.argmax(1) == wanted).sum()
        return F.cross_entropy(scores, wanted, reduction="sum"), n_correct

    total, n_correct = predict(mask)
    n_masked = int(mask.sum())
    weight = float(n_masked)
    if unmasked_weight:
        total = total + unmasked_weight * predict(~mask)[0]
        weight += unmasked_weight * (len(mask) - n_masked)
    return MaskedPrediction(total, weight, n_masked, n_correct)
