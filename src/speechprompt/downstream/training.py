"""Training of a downstream model (FT-DM): the encoder is frozen and run again in every epoch."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from speechprompt.config.tasks import DownstreamSettings
from speechprompt.downstream.heads import needed_frames
from speechprompt.downstream.model import DownstreamModel, ModelShape, save_downstream
from speechprompt.downstream.recordings import DownstreamData, FrameSource, Recordings
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log
from speechprompt.training.job import Computation, TrainingFiles, fingerprint
from speechprompt.training.loop import Sums, fit
from speechprompt.training.result import TrainingResult
from speechprompt.training.sampling import draw_rows

__all__ = ["length_batches", "train_downstream"]

# SUPERB's widths of the head, by whether the answer is generated.
HIDDEN = {False: 256, True: 1024}
# Batches drawn at a time, within which utterances are sorted by length.
POOL_BATCHES = 20


def train_downstream(
    settings: DownstreamSettings,
    data: DownstreamData,
    encoder: Mapping[str, Any],
    files: TrainingFiles,
    *,
    computation: Computation,
    seed: int = 1,
    name: str | None = None,
) -> TrainingResult:
    """Train on the audio of ``train``, stop by the loss on ``valid``, write the best model.

    As in s3prl, but the dev *loss* decides what is kept, as for prompts, where SUPERB takes the dev
    metric; the number of passes is bounded; and representations are not masked (s3prl's SpecAugment
    of asr and sf).

    Args:
        settings: the head and its training.
        data: what it learns from.
        encoder: settings of the frozen encoder, see :func:`~speechprompt.encoders.load_encoder`.
            All its layers are used.
        files: model.safetensors, learning curve (epoch, split, loss, accuracy, lr) and checkpoint.
        computation: device and threads.
        seed: seed of initial values, order, sampling and dropout.
        name: name of the task, for the model file.

    Raises:
        ArtefactError: the encoder's weights are missing or damaged.
        ConfigError: settings that the encoder does not have.
        CorpusError: a recording cannot be read, or every utterance of a split is too short for its
            answer.
    """
    device, _ = computation.start()
    source = FrameSource(encoder, device)
    trained = _DownstreamTraining(settings, data, source, seed)
    answers = data.labels.state()
    facts = {
        "seed": seed,
        "encoder": source.encoder.sha256,
        "labels": answers,
        "manifests": data.manifests,
        "balance": data.balance,
    }
    modules = [f"encoders.{source.encoder.kind}"]
    own = fingerprint(train_downstream, settings, computation, facts, modules=modules)
    result = fit(trained, settings, files, seed=seed, fingerprint=own)
    about = {"task": name, "answers": answers, "seed": seed, "training": result.summary()}
    files.finish(result, lambda path: save_downstream(path, trained.model, source.encoder, about))
    return result


class _DownstreamTraining:
    """The model with its recordings, as the loop trains it."""

    def __init__(
        self, settings: DownstreamSettings, data: DownstreamData, source: FrameSource, seed: int
    ) -> None:
        self.settings, self.data, self.source, self.seed = settings, data, source, seed
        self.generated = data.labels.allowed is None
        if self.generated:
            for split, recordings in (("train", data.train), ("valid", data.valid)):
                _check_durations(split, recordings, source.encoder.frame_rate)
        torch.manual_seed(seed)
        shape = ModelShape(
            n_states=source.encoder.n_states,
            dim=source.encoder.dimension,
            n_labels=len(data.labels.names),
            allowed=data.labels.allowed,
            hidden=settings.hidden or HIDDEN[self.generated],
            layers=settings.layers,
            dropout=settings.dropout,
            normalize=settings.normalize,
        )
        self.model = DownstreamModel(shape).to(source.device)

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        return self.model.trained()

    def batches(self, epoch: int) -> list[list[int]]:
        train, size = self.data.train, self.settings.batch_size
        order = draw_rows(train.labels, len(train), self.seed, epoch, self.data.balance)
        if self.generated:
            generator = np.random.default_rng([self.seed, epoch, 1])
            return length_batches(order, train.seconds, size, generator)
        return [order[i : i + size].tolist() for i in range(0, len(order), size)]

    def backward(self, batch: Sequence[int], seed: int) -> Sums:
        self.model.train()
        torch.manual_seed(seed)
        return self._sums(self.data.train, batch)

    @torch.no_grad()
    def evaluate(self) -> Sums:
        self.model.eval()
        valid, size = self.data.valid, self.settings.batch_size
        order = np.argsort(valid.seconds, kind="stable").tolist()
        batches = [order[i : i + size] for i in range(0, len(order), size)]
        return Sums.over([self._sums(valid, batch) for batch in batches])

    def _sums(self, recordings: Recordings, batch: Sequence[int]) -> Sums:
        """Sums over a batch; where gradients are enabled they are added up."""
        frames = self.source(recordings, batch)
        labels = [recordings.labels[row] for row in batch]
        scores = self.model(frames.states, frames.lengths)
        loss = self.model.head.loss(scores, frames.lengths, labels)
        if torch.is_grad_enabled() and loss.n_labels:
            loss.total.backward()
        return Sums(loss.total.item(), loss.n_labels, int(loss.correct.sum()), len(batch))


def length_batches(
    order: np.ndarray, seconds: Sequence[float], batch_size: int, generator: np.random.Generator
) -> list[list[int]]:
    """Divide ``order`` into batches of utterances of similar length, in random order."""
    lengths = np.asarray(seconds)
    batches = []
    for start in range(0, len(order), POOL_BATCHES * batch_size):
        pool = order[start : start + POOL_BATCHES * batch_size]
        pool = pool[np.argsort(lengths[pool], kind="stable")].tolist()
        batches += [pool[i : i + batch_size] for i in range(0, len(pool), batch_size)]
    return [batches[i] for i in generator.permutation(len(batches))]


def _check_durations(split: str, recordings: Recordings, frame_rate: float) -> None:
    """Say which utterances are too short: CTC needs a frame per label, and SUPERB ignores them."""
    pairs = zip(recordings.seconds, recordings.labels, strict=True)
    short = [seconds * frame_rate < needed_frames(labels) for seconds, labels in pairs]
    if all(short):
        raise CorpusError(
            f"{split}: CTC needs a frame per label, and at {frame_rate:g} frames/s none of the "
            f"{len(recordings)} utterances is as long as its answer, the first of them "
            f"{recordings.utt_ids[0]!r}; use an encoder with more frames, or shorter answers"
        )
    if any(short):
        first = recordings.utt_ids[short.index(True)]
        log(
            f"{split}: {sum(short)} of {len(recordings)} utterances are too short for their "
            f"answers at {frame_rate:g} frames/s and teach nothing, the first of them {first!r}"
        )
