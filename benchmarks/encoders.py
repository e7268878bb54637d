"""HuBERT base with random weights: this package's encoder and those of fairseq and transformers."""

from __future__ import annotations

import logging
import os
import runpy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torchaudio.models import wav2vec2_model

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.encoders import load_encoder
from speechprompt.encoders.hubert import HUBERT
from speechprompt.models.importing.fairseq_library import import_fairseq
from speechprompt.models.importing.hubert import fairseq_names
from speechprompt.storage.tensors import read_tensors

__all__ = [
    "HUBERT_BASE",
    "LAYER",
    "OurEncoder",
    "PublishedReader",
    "TransformersEncoder",
    "write_hubert",
]

LAYER = 6
HUBERT_BASE = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [[512, 10, 5], *[[512, 3, 2]] * 4, *[[512, 2, 2]] * 2],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 768,
    "encoder_projection_dropout": 0.1,
    "encoder_pos_conv_kernel": 128,
    "encoder_pos_conv_groups": 16,
    "encoder_num_layers": 12,
    "encoder_num_heads": 12,
    "encoder_attention_dropout": 0.1,
    "encoder_ff_interm_features": 3072,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.1,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.05,
    "normalize_waveform": False,
}
READER = "examples/textless_nlp/gslm/speech2unit/pretrained/hubert_feature_reader.py"


def write_hubert(path: str | Path, config: dict[str, Any] | None = None) -> None:
    """Write a model with random weights under which activations keep their variance."""
    config = config or HUBERT_BASE
    arguments = {key: value for key, value in config.items() if key != "normalize_waveform"}
    torch.manual_seed(1)
    model = wav2vec2_model(**arguments, aux_num_out=None)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1 and "parametrizations" not in name:
                weight.normal_(std=weight[0].numel() ** -0.5)
    HUBERT.write(path, model, config)


class OurEncoder:
    """This package's encoder as the pipeline calls it."""

    def __init__(
        self, path: str | Path, precision: str, device: str = "cpu", layer: int = LAYER
    ) -> None:
        self.encoder = load_encoder(
            "hubert", weights=path, layer=layer, precision=precision, device=device
        )

    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        return self.encoder.encode(waveforms)


class PublishedReader:
    """GSLM's ``HubertFeatureReader`` of fairseq 0.12.2, unchanged: one utterance at a time.

    It gets the model and audio that is read already, and runs on the CPU instead of a GPU.
    """

    def __init__(self, path: str | Path, layer: int = LAYER) -> None:
        logging.disable(logging.INFO)
        tensors, metadata = read_tensors(path)
        config = metadata["config"]
        self.reader = object.__new__(_reader_module().HubertFeatureReader)
        self.reader.model = _fairseq_model(tensors, config)
        settings = {"sample_rate": SAMPLE_RATE, "normalize": config["normalize_waveform"]}
        self.reader.task = SimpleNamespace(cfg=SimpleNamespace(**settings))
        self.reader.layer = layer
        self.reader.max_chunk = 1_600_000
        self.reader.read_audio = lambda waveform, ref_len: waveform.numpy()

    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        with mock.patch.object(Tensor, "cuda", lambda tensor: tensor):
            return [self.reader.get_feats(waveform) for waveform in waveforms]


class TransformersEncoder:
    """``HubertModel`` of transformers with the same weights, as its guide calls it.

    A batch is padded and has an attention mask, and ``output_hidden_states`` gives the frames of
    every layer. The model has no argument that stops it at a layer: it computes all of them.

    Args:
        path: file of the weights.
        precision: fp32 or bf16.
        device: cpu or cuda.
        layer: layer whose frames are returned.
    """

    def __init__(
        self, path: str | Path, precision: str, device: str = "cpu", layer: int = LAYER
    ) -> None:
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        tensors, metadata = read_tensors(path)
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
        self.model = _transformers_model(tensors, metadata["config"]).to(device, dtype)
        self.layer, self.device, self.dtype = layer, device, dtype

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        lengths = torch.tensor([len(waveform) for waveform in waveforms])
        padded = pad_sequence(list(waveforms), batch_first=True)
        mask = torch.arange(padded.shape[1]) < lengths[:, None]
        found = self.model(
            padded.to(self.device).to(self.dtype),
            attention_mask=mask.long().to(self.device),
            output_hidden_states=True,
        )
        counts = self.model._get_feat_extract_output_lengths(lengths).tolist()
        frames = found.hidden_states[self.layer].float().cpu()
        return [own[:count] for own, count in zip(frames, counts, strict=True)]


def _reader_module() -> SimpleNamespace:
    folder = Path(str(import_fairseq().__file__)).parent
    return SimpleNamespace(**runpy.run_path(str(folder / READER)))


def _fairseq_model(tensors: dict[str, Tensor], config: dict[str, Any]) -> nn.Module:
    """fairseq's model with our weights; its heads, which features do not need, stay random."""
    hubert = import_fairseq("fairseq.models.hubert.hubert")
    task = import_fairseq("fairseq.tasks.hubert_pretraining")
    layers = [tuple(layer) for layer in config["extractor_conv_layer_config"]]
    settings = hubert.HubertConfig(
        label_rate=50.0,
        extractor_mode={"group_norm": "default"}.get(config["extractor_mode"], "layer_norm"),
        conv_feature_layers=repr(layers),
        conv_bias=config["extractor_conv_bias"],
        conv_pos=config["encoder_pos_conv_kernel"],
        conv_pos_groups=config["encoder_pos_conv_groups"],
        encoder_layers=config["encoder_num_layers"],
        encoder_embed_dim=config["encoder_embed_dim"],
        encoder_ffn_embed_dim=config["encoder_ff_interm_features"],
        encoder_attention_heads=config["encoder_num_heads"],
        layer_norm_first=config["encoder_layer_norm_first"],
    )
    dictionary = import_fairseq("fairseq.data").Dictionary()
    model = hubert.HubertModel(settings, task.HubertPretrainingConfig(), [dictionary])
    heads = model.state_dict()
    names = dict(fairseq_names(config))
    model.load_state_dict(
        {name: tensors[names[name]] if name in names else heads[name] for name in heads}
    )
    return model.eval()


def _transformers_model(tensors: dict[str, Tensor], config: dict[str, Any]) -> Any:
    """transformers' model with our weights."""
    from transformers import HubertConfig, HubertModel

    channels, kernels, strides = zip(*config["extractor_conv_layer_config"], strict=True)
    model = HubertModel(
        HubertConfig(
            hidden_size=config["encoder_embed_dim"],
            num_hidden_layers=config["encoder_num_layers"],
            num_attention_heads=config["encoder_num_heads"],
            intermediate_size=config["encoder_ff_interm_features"],
            feat_extract_norm="group" if config["extractor_mode"] == "group_norm" else "layer",
            conv_dim=channels,
            conv_kernel=kernels,
            conv_stride=strides,
            conv_bias=config["extractor_conv_bias"],
            num_conv_pos_embeddings=config["encoder_pos_conv_kernel"],
            num_conv_pos_embedding_groups=config["encoder_pos_conv_groups"],
            do_stable_layer_norm=config["encoder_layer_norm_first"],
        )
    )
    prefixes = {
        "encoder.feature_projection.": "feature_projection.",
        "encoder.transformer.": "encoder.",
    }
    named = {}
    for name, tensor in tensors.items():
        for ours, theirs in prefixes.items():
            name = name.replace(ours, theirs)
        named[name] = tensor
    # A vector that stands for frames that are masked in training is all that torchaudio's lacks.
    named["masked_spec_embed"] = model.masked_spec_embed.detach()
    model.load_state_dict(named)
    return model.eval()
