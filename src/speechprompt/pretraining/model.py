"""HuBERT with its masked prediction: torchaudio's model, its loss without the waste."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor
from torchaudio.models import HuBERTPretrainModel, hubert_pretrain_model

from speechprompt.errors import ConfigError

__all__ = ["FRAME_SHIFT", "FRAME_WINDOW", "build_hubert", "masked_prediction", "model_config"]

KERNELS_AND_STRIDES = ((10, 5), *[(3, 2)] * 4, *[(2, 2)] * 2)
FRAME_WINDOW, FRAME_SHIFT = 400, 320
TEMPERATURE = 0.1


def model_config(
    *,
    channels: Sequence[int],
    dim: int,
    layers: int,
    heads: int,
    ffn: int,
    position_kernel: int,
    position_groups: int,
    dropout: float,
) -> dict[str, Any]:
    """The configuration that :func:`speechprompt.encoders.hubert.save_hubert` takes.

    Kernels and strides are the published ones: 50 frames/s. Each convolution is followed by a
    LayerNorm over channels, as in HuBERT large, so that padding has no influence, and the layers
    normalise first.

    Raises:
        ConfigError: not one number of channels per convolution, or widths that do not divide.
    """
    if len(channels) != len(KERNELS_AND_STRIDES):
        raise ConfigError(
            f"pretraining.channels: expected {len(KERNELS_AND_STRIDES)} numbers, one per "
            f"convolution, found {len(channels)}"
        )
    for name, divisor in (("heads", heads), ("position_groups", position_groups)):
        if dim % divisor:
            raise ConfigError(f"pretraining.dim: expected a multiple of {name}, found {dim}")
    shapes = zip(channels, KERNELS_AND_STRIDES, strict=True)
    return {
        "extractor_mode": "layer_norm",
        "extractor_conv_layer_config": [[width, *shape] for width, shape in shapes],
        "extractor_conv_bias": True,
        "encoder_embed_dim": dim,
        "encoder_projection_dropout": dropout,
        "encoder_pos_conv_kernel": position_kernel,
        "encoder_pos_conv_groups": position_groups,
        "encoder_num_layers": layers,
        "encoder_num_heads": heads,
        "encoder_attention_dropout": dropout,
        "encoder_ff_interm_features": ffn,
        "encoder_ff_interm_dropout": 0.0,
        "encoder_dropout": dropout,
        "encoder_layer_norm_first": True,
        "encoder_layer_drop": 0.0,
        "normalize_waveform": True,
    }


def build_hubert(
    config: dict[str, Any], *, n_targets: int, mask_share: float, mask_length: int
) -> HuBERTPretrainModel:
    """torchaudio's HuBERT with random weights and a prediction head.

    Args:
        config: of :func:`model_config`.
        n_targets: units to predict.
        mask_share: ``mask_prob``: frames in masked spans, were there no overlaps.
        mask_length: frames of a masked span.
    """
    arguments = {key: value for key, value in config.items() if key != "normalize_waveform"}
    return hubert_pretrain_model(
        **arguments,
        mask_prob=mask_share,
        mask_selection="static",
        mask_other=0.0,
        mask_length=mask_length,
        no_mask_overlap=False,
        mask_min_space=1,
        mask_channel_prob=0.0,
        mask_channel_selection="static",
        mask_channel_other=0.0,
        mask_channel_length=mask_length,
        no_mask_channel_overlap=False,
        mask_channel_min_space=1,
        skip_masked=False,
        skip_nomask=True,
        num_classes=n_targets,
        final_dim=min(256, config["encoder_embed_dim"]),
        feature_grad_mult=None,
    )


def masked_prediction(
    model: HuBERTPretrainModel, waveforms: Tensor, targets: Tensor, unmasked_weight: float = 0.0
) -> tuple[Tensor, float, int, int]:
    """HuBERT's loss, from torch's random numbers.

    The same as cross-entropy over what torchaudio's model returns, whose cosine similarities of
    every frame with every target take a third of a small model's time; here they are one product.

    Args:
        model: of :func:`build_hubert`.
        waveforms: ``[B, n_samples]``, all of one length.
        targets: units ``[B, n_frames]``.
        unmasked_weight: of the frames that are not masked, in loss and weight.

    Returns:
        summed cross-entropy in nats and the weight of the frames in it; masked frames, and how many
        of them are right.
    """
    normalised = F.layer_norm(waveforms, waveforms.shape[1:])
    features, _ = model.wav2vec2.feature_extractor(normalised, None)
    x, _ = model.wav2vec2.encoder._preprocess(features)
    x, mask = model.mask_generator(x, None)
    x = model.wav2vec2.encoder.transformer(x).flatten(0, 1)
    mask, targets = mask.flatten(), targets.flatten()
    head = model.logit_generator

    def predict(frames: Tensor) -> tuple[Tensor, int]:
        # Not x[mask]: with several threads its backward adds up in no fixed order.
        chosen = frames.nonzero()[:, 0]
        projected = F.normalize(head.final_proj(x.index_select(0, chosen)).float())
        scores = F.linear(projected, F.normalize(head.label_embeddings)).float() / TEMPERATURE
        wanted = targets.index_select(0, chosen)
        right = int((scores.argmax(1) == wanted).sum())
        return F.cross_entropy(scores, wanted, reduction="sum"), right

    loss, right = predict(mask)
    masked = int(mask.sum())
    weight = float(masked)
    if unmasked_weight:
        loss = loss + unmasked_weight * predict(~mask)[0]
        weight += unmasked_weight * (len(mask) - masked)
    return loss, weight, masked, right
