"""WavLM (Chen et al., 2022) in any size: HuBERT whose attention knows how far frames are apart.

The weights are those of HuBERT in torchaudio's names, and each layer's gate. The first layer has
the embedding of distances, which all share. In the configuration, ``encoder_num_buckets`` is the
number of different distances, and all from ``encoder_max_distance`` frames on count as one.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from torchaudio.models import Wav2Vec2Model
from torchaudio.models.wav2vec2 import components

from speechprompt.encoders.hubert import HUBERT, HubertEncoder
from speechprompt.encoders.hubert import build as build_hubert
from speechprompt.encoders.positions import GatedAttention
from speechprompt.encoders.weights import Architecture
from speechprompt.errors import ArtefactError
from speechprompt.runtime.uninitialised import without_weights
from speechprompt.storage.tensors import Shapes, shapes_of

__all__ = ["WAVLM", "WavLmEncoder"]

BUCKETS, MAX_DISTANCE = "encoder_num_buckets", "encoder_max_distance"


def build(path: str | Path, config: Mapping[str, Any]) -> Wav2Vec2Model:
    """Build the model on the meta device, without memory for its weights.

    Raises:
        ArtefactError: the configuration of the file is impossible.
    """
    buckets, distance = config[BUCKETS], config[MAX_DISTANCE]
    # Half of the buckets are for either side, and half of those for exact distances.
    if type(buckets) is not int or type(distance) is not int or not 4 <= buckets < 4 * distance:
        raise ArtefactError(
            f"{path}: {BUCKETS}: expected a whole number from 4 to less than four times "
            f"{MAX_DISTANCE}, found {buckets!r:.100} and {distance!r:.100}"
        )
    shared = {key: value for key, value in config.items() if key not in (BUCKETS, MAX_DISTANCE)}
    model = build_hubert(path, shared)
    dim, heads = config["encoder_embed_dim"], config["encoder_num_heads"]
    with without_weights():
        for number, layer in enumerate(model.encoder.transformer.layers):
            assert isinstance(layer, components.EncoderLayer)
            layer.attention = GatedAttention(dim, heads, None if number else (buckets, distance))
    return model


def _shapes(path: str | Path, config: Mapping[str, Any]) -> Shapes:
    return shapes_of(build(path, config).state_dict())


WAVLM = Architecture(
    "wavlm",
    HUBERT.keys | {BUCKETS, MAX_DISTANCE},
    HUBERT.layers,
    _shapes,
    HUBERT.description.replace("a HuBERT", "a WavLM"),
    HUBERT.optional,
)


class WavLmEncoder(HubertEncoder):
    """The output of one transformer layer; see :class:`~.hubert.HubertEncoder`."""

    kind = WAVLM.kind
    architecture: ClassVar[Architecture] = WAVLM

    @staticmethod
    def _build(path: str | Path, config: Mapping[str, Any]) -> Wav2Vec2Model:
        return build(path, config)
