"""wav2vec 2.0 (Baevski et al., 2020) in any size: HuBERT's architecture, trained by contrasts."""

from dataclasses import replace
from typing import ClassVar

from speechprompt.encoders.hubert import HUBERT, HubertEncoder
from speechprompt.encoders.weights import Architecture

__all__ = ["WAV2VEC2", "Wav2Vec2Encoder"]

WAV2VEC2 = replace(
    HUBERT,
    kind="wav2vec2",
    description=HUBERT.description.replace("a HuBERT", "a wav2vec 2.0"),
)


class Wav2Vec2Encoder(HubertEncoder):
    """The output of one transformer layer; see :class:`~.hubert.HubertEncoder`."""

    kind = WAV2VEC2.kind
    architecture: ClassVar[Architecture] = WAV2VEC2
