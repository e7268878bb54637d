"""The measurements: every implementation on every model, length, precision and phase."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import product

from benchmarks.data import LENGTHS, N_UNITS
from speechprompt.lm import LMConfig
from speechprompt.runtime.precision import Precision

__all__ = [
    "ENCODE",
    "EXTRACT",
    "HUBERT",
    "INFER",
    "MODELS",
    "OURS",
    "PACK",
    "PEFT",
    "PRETRAIN",
    "PUBLISHED",
    "TRAIN",
    "TRANSFORMERS",
    "Case",
    "Effort",
    "list_cases",
    "packages_missing",
]

OURS, PUBLISHED, PEFT, TRANSFORMERS = "ours", "published", "peft", "transformers"
_PACKAGES = {PUBLISHED: ("fairseq",), PEFT: ("peft", "transformers"), TRANSFORMERS: (TRANSFORMERS,)}
MODELS = {
    "nano": LMConfig(N_UNITS + 4, layers=4, heads=4, dim=256, ffn=1024),
    "151M": LMConfig(N_UNITS + 4),
}
HUBERT = "hubert-base"
# Training and inference with a prompt, pre-training of a unit LM, building its batches, encoding,
# and the job that reads recordings, encodes them and writes their frames.
TRAIN, INFER, PRETRAIN, PACK, ENCODE, EXTRACT = (
    *("train", "infer", "pretrain", "pack"),
    *("encode", "extract"),
)

_QUICK = (("nano", "asr"), ("151M", "ks"), (HUBERT, "ks"))

# Utterances per update or per call. The paper has 32 in both phases. At ASR lengths the published
# implementation needs gigabytes for a few utterances, and adds up the gradients of small batches.
# The largest batches of an encoder are those of the pipeline: 40 seconds, and 400 on a GPU. An
# update of the pre-training has so many tokens: the default, and more, which keep a GPU busy.
_BATCHES: dict[str, dict[str, dict[str, tuple[int, ...]]]] = {
    "cpu": {
        TRAIN: {"ks": (32,), "asr": (4,)},
        INFER: {"ks": (128,), "asr": (8,)},
        PRETRAIN: {"ks": (2048,), "asr": (2048,)},
        ENCODE: {"ks": (40,), "asr": (3,)},
        EXTRACT: {"ks": (40,), "asr": (3,)},
    },
    "cuda": {
        TRAIN: {"ks": (32, 128), "asr": (4, 32)},
        INFER: {"ks": (32, 128), "asr": (4, 32)},
        PRETRAIN: {"ks": (2048, 32_768), "asr": (2048, 32_768)},
        ENCODE: {"ks": (128, 400), "asr": (4, 32)},
        EXTRACT: {"ks": (3200,), "asr": (256,)},
    },
}
_PUBLISHED_BATCH = {TRAIN: {"ks": 32, "asr": 4}, INFER: {"ks": 32, "asr": 4}}
_LARGE_TRAINING_BATCH = 128
_PACKED_BATCH = 32


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
    def peak(self) -> str | None:
        """The peak of matrix products that it is compared with; None if it has none."""
        if self.contender != OURS or self.phase in (PACK, EXTRACT):
            return None
        return f"{self.precision} laid out" if self.phase == ENCODE else self.precision


def list_cases(quick: bool, precisions: list[Precision], device: str = "cpu") -> Iterator[Case]:
    """Yield all cases of a device.

    On a GPU the published implementations are left out, because they run on the CPU.

    Args:
        quick: on a CPU one length per model and no large batches; on a GPU the last precision and
            the largest batches only.
        precisions: fp32, and bf16 where the device multiplies in it.
        device: cpu or cuda.
    """
    on_cpu = device == "cpu"
    precisions = precisions[-1:] if quick and not on_cpu else precisions

    def batches(phase: str, lengths: str) -> tuple[int, ...]:
        sizes = _BATCHES[device][phase][lengths]
        return sizes[-1:] if quick else sizes

    def chosen(model: str, lengths: str) -> bool:
        return not (quick and on_cpu) or (model, lengths) in _QUICK

    for model, lengths, phase in product(MODELS, LENGTHS, (TRAIN, INFER)):
        if not chosen(model, lengths):
            continue
        if on_cpu:
            published = _PUBLISHED_BATCH[phase][lengths]
            yield Case(PUBLISHED, model, lengths, "fp32", phase, published)
        for contender, precision in product((PEFT, OURS), precisions):
            for batch in batches(phase, lengths):
                yield Case(contender, model, lengths, precision, phase, batch)
        if on_cpu and phase == TRAIN and lengths == "ks" and not quick:
            for precision in precisions:
                yield Case(OURS, model, lengths, precision, phase, _LARGE_TRAINING_BATCH)
    for model, lengths, precision in product(MODELS, LENGTHS, precisions):
        if chosen(model, lengths):
            for batch in batches(PRETRAIN, lengths):
                yield Case(OURS, model, lengths, precision, PRETRAIN, batch)
    for lengths in LENGTHS:
        yield Case(OURS, "nano", lengths, "fp32", PACK, _PACKED_BATCH)
    for lengths in LENGTHS:
        if not chosen(HUBERT, lengths):
            continue
        if on_cpu:
            yield Case(PUBLISHED, HUBERT, lengths, "fp32", ENCODE, 1)
        for contender, precision in product((TRANSFORMERS, OURS), precisions):
            for batch in batches(ENCODE, lengths):
                yield Case(contender, HUBERT, lengths, precision, ENCODE, batch)
        for precision in precisions:
            for batch in batches(EXTRACT, lengths):
                yield Case(OURS, HUBERT, lengths, precision, EXTRACT, batch)


def packages_missing(contender: str) -> list[str]:
    """The packages that an implementation needs and that are not installed."""
    return [name for name in _PACKAGES.get(contender, ()) if find_spec(name) is None]
