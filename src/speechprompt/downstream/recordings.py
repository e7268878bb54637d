"""Recordings with their references, and the frames that an encoder makes of them on the fly."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import torch
from torch import Tensor

from speechprompt.config.tasks import TaskType
from speechprompt.corpora.manifest import read_root
from speechprompt.encoders import load_encoder
from speechprompt.encoders.base import encode_in_batches
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.parquet import read_parquet
from speechprompt.tasks.labels import Labels, define_labels, encode_references
from speechprompt.units.extraction import read_waveform

__all__ = ["DownstreamData", "FrameSource", "Frames", "Recordings", "read_labelled_recordings"]


@dataclass(frozen=True)
class Recordings:
    """Utterances of one split, in the manifest's order.

    Attributes:
        utt_ids: names of the utterances.
        paths: their audio files.
        seconds: duration of each.
        references: the right answer to each utterance, in writing.
        labels: label indices of each reference; empty where only the references are wanted.
        speakers: the speaker of each utterance, None where it is not known.
    """

    utt_ids: list[str]
    paths: list[Path]
    seconds: list[float]
    references: list[str]
    labels: list[list[int]]
    speakers: list[str | None] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.utt_ids)

    def take(self, rows: Sequence[int]) -> Self:
        """Some of the utterances."""
        return replace(
            self,
            utt_ids=[self.utt_ids[i] for i in rows],
            paths=[self.paths[i] for i in rows],
            seconds=[self.seconds[i] for i in rows],
            references=[self.references[i] for i in rows],
            labels=[self.labels[i] for i in rows if self.labels],
        )


@dataclass(frozen=True)
class Frames:
    """Frames of some utterances, one utterance after the other.

    Attributes:
        states: (S, N, D) float32, every representation of every frame.
        lengths: number of frames of each utterance.
        digests: hash of each utterance's audio, 16 bytes.
    """

    states: Tensor
    lengths: list[int]
    digests: list[bytes]


def read_labelled_recordings(
    manifest: str | Path, labels: Labels, *, encode: bool = True
) -> Recordings:
    """Read the recordings of a split and their references.

    Args:
        manifest: manifest of the split.
        labels: labels of the task.
        encode: whether label indices are wanted, as for train and dev.

    Raises:
        ArtefactError: the manifest cannot be read.
        CorpusError: the split is empty, a label column is missing, or has a label that train never
            had.
    """
    table = _read_manifest(manifest)
    if not len(table):
        raise CorpusError(f"{manifest}: expected utterances, found none")
    root = read_root(manifest)
    utt_ids = table["utt_id"].to_pylist()
    references = labels.references(table, str(manifest))
    samples = zip(table["n_samples"].to_pylist(), table["sample_rate"].to_pylist(), strict=True)
    return Recordings(
        utt_ids=utt_ids,
        paths=[root / path for path in table["path"].to_pylist()],
        seconds=[count / rate for count, rate in samples],
        references=references,
        labels=encode_references(labels, utt_ids, references, manifest) if encode else [],
        speakers=table["speaker"].to_pylist() if "speaker" in table.column_names else [],
    )


class FrameSource:
    """Reads audio and runs the frozen encoder on it; frames are not stored.

    Args:
        encoder: settings of the encoder, see :func:`~speechprompt.encoders.load_encoder`. All its
            layers are loaded.
        device: torch device of the encoder and the frames.
    """

    def __init__(self, encoder: Mapping[str, Any], device: str) -> None:
        self.encoder = load_encoder(**encoder, device=device, every_layer=True)
        self.device = torch.device(device)

    @torch.no_grad()
    def __call__(self, recordings: Recordings, rows: Sequence[int]) -> Frames:
        """The frames of some utterances, given by their rows.

        Raises:
            ArtefactError: a frame is not finite.
            CorpusError: a recording cannot be read any more.
        """
        waveforms = [read_waveform(recordings.paths[row]) for row in rows]
        tensors = [torch.from_numpy(waveform) for waveform in waveforms]
        encoded = encode_in_batches(self.encoder, tensors, states=True)
        for row, states in zip(rows, encoded, strict=True):
            if not states.isfinite().all():
                raise ArtefactError(f"frames of {recordings.paths[row]} are not finite")
        return Frames(
            states=torch.cat([states.to(self.device) for states in encoded], dim=1),
            lengths=[states.shape[1] for states in encoded],
            digests=[hashlib.blake2b(w.tobytes(), digest_size=16).digest() for w in waveforms],
        )


@dataclass(frozen=True)
class DownstreamData:
    """Labelled recordings that a downstream model is trained with.

    Attributes:
        labels: what can be answered.
        train: recordings to learn from.
        valid: recordings that decide when to stop and which parameters to keep.
        manifests: hashes of the manifests of both.
        balance: draw utterances with replacement so that every answer is equally likely, as SUPERB
            does for keywords.
    """

    labels: Labels
    train: Recordings
    valid: Recordings
    manifests: tuple[str, str]
    balance: bool = False

    @classmethod
    def read(
        cls,
        train: str | Path,
        valid: str | Path,
        task_type: TaskType,
        columns: list[str],
        balance: bool = False,
    ) -> Self:
        """Read the splits behind two manifests.

        Args:
            train: manifest of the train split.
            valid: manifest of the split that decides when to stop.
            task_type: form of the answer: classification, transcription or slot_filling.
            columns: label columns.
            balance: draw the answers equally often.

        Raises:
            ArtefactError: a manifest is missing or damaged.
            ConfigError: no such task type.
            CorpusError: a label column is missing, or has a label that train never had.
        """
        labels = define_labels(_read_manifest(train), task_type, columns, train)
        learnt, held_out = (read_labelled_recordings(path, labels) for path in (train, valid))
        hashes = (sha256_file(train), sha256_file(valid))
        return cls(labels, learnt, held_out, hashes, balance)


def _read_manifest(path: str | Path) -> pa.Table:
    table = read_parquet(path)
    needed = {"utt_id", "path", "n_samples", "sample_rate"}
    if missing := sorted(needed - set(table.column_names)):
        raise ArtefactError(f"{path}: expected a manifest, columns {missing} are missing")
    return table
