"""The measurements: every implementation on every model, length, precision and phase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from benchmarks.data import LENGTHS, N_UNITS
from speechprompt.lm import LMConfig
from speechprompt.runtime.precision import Precision

__all__ = [
    "ENCODE",
    "HUBERT",
    "MODELS",
    "OURS",
    "PEFT",
    "PUBLISHED",
    "Case",
    "Effort",
    "list_cases",
]

OURS, PUBLISHED, PEFT = "ours", "published", "peft"
MODELS = {
    "nano": LMConfig(N_UNITS + 4, layers=4, heads=4, dim=256, ffn=1024),
    "151M": LMConfig(N_UNITS + 4),
}
HUBERT, ENCODE = "hubert-base", "encode"
# Utterances per update or per call. The paper has 32 in both phases. At ASR lengths the published
# implementation needs gigabytes for a few utterances, and adds up the gradients of small batches.
_TRAINING_BATCH = {"ks": 32, "asr": 4}
_LARGE_TRAINING_BATCH = 128
_INFERENCE_BATCH = {"ks": 128, "asr": 8}
_PUBLISHED_INFERENCE_BATCH = {"ks": 32, "asr": 4}
# The pipeline has batches of 40 seconds.
_ENCODING_BATCH = {"ks": 40, "asr": 3}

_QUICK = (("nano", "asr"), ("151M", "ks"), (HUBERT, "ks"))


@dataclass(frozen=True)
class Effort:
    """The effort of a measurement.

    Attributes:
        seconds: time for which it is repeated.
        repetitions: the least number of repetitions, unless they take more than three times as
            long.
        passes: number of passes of a published generation.
    """

    seconds: float
    repetitions: int
    passes: int


@dataclass(frozen=True)
class Case:
    """One measurement, which gets a process of its own."""

    contender: str
    model: str
    lengths: str
    precision: Precision
    phase: str
    batch: int

    @property
    def name(self) -> str:
        """Its name, such as ``ours/151M/ks/bf16/train/32``."""
        parts = (self.contender, self.model, self.lengths, self.precision, self.phase, self.batch)
        return "/".join(map(str, parts))

    @property
    def peak(self) -> str:
        """The peak of matrix products that it is compared with."""
        return f"{self.precision} laid out" if self.phase == ENCODE else self.precision


def list_cases(quick: bool, precisions: list[Precision]) -> Iterator[Case]:
    """Yield all cases; ``quick`` means one length per model and no large batches."""
    for model, lengths, phase in product(MODELS, LENGTHS, ("train", "infer")):
        if quick and (model, lengths) not in _QUICK:
            continue
        training = phase == "train"
        published = (_TRAINING_BATCH if training else _PUBLISHED_INFERENCE_BATCH)[lengths]
        batch = (_TRAINING_BATCH if training else _INFERENCE_BATCH)[lengths]
        yield Case(PUBLISHED, model, lengths, "fp32", phase, published)
        for contender, precision in product((PEFT, OURS), precisions):
            yield Case(contender, model, lengths, precision, phase, batch)
        if training and lengths == "ks" and not quick:
            for precision in precisions:
                yield Case(OURS, model, lengths, precision, phase, _LARGE_TRAINING_BATCH)
    for lengths in LENGTHS:
        if quick and (HUBERT, lengths) not in _QUICK:
            continue
        yield Case(PUBLISHED, HUBERT, lengths, "fp32", ENCODE, 1)
        for precision in precisions:
            yield Case(OURS, HUBERT, lengths, precision, ENCODE, _ENCODING_BATCH[lengths])
