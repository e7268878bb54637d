"""Made-up tasks beside the next-unit loss, with which a unit LM learns to be prompted.

A next-unit loss teaches an LM to look a few units back, and a prompt can only direct attention that
is there. A made-up task asks which cluster an utterance is in, or for a spelling of it
(:mod:`speechprompt.lm.sequence_tasks`). The clusters come from the units of the train utterances
alone: no label and no other split is read.

A batch is asked one task of spelling, or several of clusters. Of these, each has a slot behind the
utterance, as a prompt of mode ``query`` has rows: an embedding, and a shift of the slot's input of
each layer. A layer without bias maps the scores of the units at the slot to the clusters, as a
learnable verbalizer does. Slots, shifts and these layers are trained along and thrown away at the
end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from speechprompt.config.models import PretrainingTaskSettings
from speechprompt.lm.cache import Cache
from speechprompt.lm.dictionary import N_SPECIALS
from speechprompt.lm.model import LMConfig, UnitLM
from speechprompt.lm.sequence_tasks import Dictation, SequenceTasks
from speechprompt.runtime.device import to_device
from speechprompt.runtime.progress import log

__all__ = ["Clusters", "PretrainingTasks", "Questions", "cluster_utterances", "make_up_tasks"]

# A cluster has at least so many utterances on average.
LEAST_PER_CLUSTER = 8
# N-grams and projection are those of so many utterances, so that memory does not grow with data.
MAX_SAMPLE = 20_000
MAX_NGRAMS = 20_000
N_COMPONENTS = 64
# Standard deviations of shifts and layers at the start.
SHIFT = 0.1
HEAD = 0.05


@dataclass(frozen=True)
class Clusters:
    """The clusters of a corpus that its made-up tasks ask for.

    Attributes:
        classes: number of clusters in each task.
        labels: (N, tasks) the cluster of each utterance in each task.
    """

    classes: list[int]
    labels: np.ndarray


def cluster_utterances(
    units: Sequence[np.ndarray], settings: PretrainingTaskSettings, seed: int
) -> Clusters | None:
    """Cluster the utterances of a corpus by their unit 1-3-grams, anew for each task.

    The first tasks look at all principal components of the n-grams, one for each number of
    clusters; every other task looks at a random half of the components. The same units and seed
    give the same clusters for any number of threads, because only one is used here.

    Args:
        units: units of each utterance.
        settings: number of tasks, and of clusters.
        seed: seed of the sample, the components and the clusters.

    Returns:
        The clusters, or None where the utterances are too few for any task.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.preprocessing import normalize
    from threadpoolctl import threadpool_limits

    possible = [k for k in settings.classes if k * LEAST_PER_CLUSTER <= len(units)]
    if not possible:
        return None
    classes = [possible[i % len(possible)] for i in range(settings.tasks)]
    generator = np.random.default_rng(seed)
    labels = np.empty((len(units), len(classes)), np.int64)
    with threadpool_limits(limits=1):
        components = _project(units, generator)
        n_components = components.shape[1]
        for i, n_clusters in enumerate(classes):
            n_seen = n_components if i < len(possible) else -(-n_components // 2)
            seen = generator.permutation(n_components)[:n_seen]
            own_seed = int(generator.integers(2**32))
            kmeans = MiniBatchKMeans(
                n_clusters, batch_size=2048, n_init=1, max_iter=20, random_state=own_seed
            )
            labels[:, i] = kmeans.fit_predict(normalize(components[:, seen]))
    return Clusters(classes, labels)


def make_up_tasks(
    config: LMConfig,
    names: Sequence[str],
    units: Sequence[np.ndarray],
    train: np.ndarray,
    settings: PretrainingTaskSettings,
    seed: int,
) -> PretrainingTasks | None:
    """Make up the tasks of a unit LM's pre-training.

    Args:
        config: shape of the unit LM.
        names: ``corpus/utterance`` of all utterances.
        units: their units.
        train: indices of the utterances to learn from; no others are looked at.
        settings: the tasks.
        seed: seed of the clusters.

    Returns:
        The tasks, or None where every corpus has too few utterances.
    """
    _, corpora = np.unique([name.partition("/")[0] for name in names], return_inverse=True)
    classes = {}
    labels = np.full((len(units), settings.tasks), -1, np.int64)
    for corpus in np.unique(corpora[train]).tolist():
        rows = train[corpora[train] == corpus]
        clusters = cluster_utterances([units[i] for i in rows], settings, seed)
        if clusters is not None:
            classes[corpus], labels[rows] = clusters.classes, clusters.labels
    if not classes:
        least = LEAST_PER_CLUSTER * min(settings.classes)
        log(f"pretraining_tasks: left out, because no corpus has {least} utterances to learn from")
        return None
    tasks = f"{settings.tasks} made-up tasks for each of {len(classes)} corpora"
    sequences = None
    if settings.sequences:
        sequences = SequenceTasks(config, units, train, settings, seed)
        tasks += f", {settings.sequences} of sequences"
    log(f"pretraining_tasks: {tasks}")
    return PretrainingTasks(config, classes, labels, corpora, settings, sequences)


class PretrainingTasks(nn.Module):
    """The made-up tasks of all corpora, as they are trained.

    Args:
        config: shape of the unit LM.
        classes: number of clusters in each task, by number of the corpus.
        labels: (N, tasks) cluster of every utterance in the tasks of its corpus.
        corpora: (N,) number of each utterance's corpus.
        settings: how many tasks are asked at once, and their weight.
        sequences: tasks of sequences, if there are any.
    """

    def __init__(
        self,
        config: LMConfig,
        classes: Mapping[int, Sequence[int]],
        labels: np.ndarray,
        corpora: np.ndarray,
        settings: PretrainingTaskSettings,
        sequences: SequenceTasks | None = None,
    ) -> None:
        super().__init__()
        self.sequences = sequences
        self.labels, self.corpora, self.settings = labels, corpora, settings
        self.tasks = nn.ModuleDict(
            {
                str(corpus): nn.ModuleList(_Task(config, n_clusters) for n_clusters in numbers)
                for corpus, numbers in classes.items()
            }
        )

    def by_corpus(self, order: np.ndarray) -> list[np.ndarray]:
        """Divide utterances by corpus and keep their order; a batch is asked one corpus's tasks."""
        corpora = self.corpora[order]
        return [order[corpora == corpus] for corpus in np.unique(corpora)]

    def draw(self, batch: Sequence[int], seed: int) -> Questions | Dictation | None:
        """Choose what a batch of one corpus is asked; None for nothing."""
        generator = np.random.default_rng(seed)
        share = self.settings.sequence_share
        if self.sequences is not None and generator.random() < share:
            return self.sequences.draw(batch, seed)
        corpus = str(self.corpora[batch[0]])
        if corpus not in self.tasks:
            return None
        tasks = list(cast("nn.ModuleList", self.tasks[corpus]))
        order = generator.permutation(len(tasks))[: self.settings.slots]
        chosen = [cast("_Task", tasks[i]) for i in order]
        return Questions(chosen, self.labels[:, order], self.settings.weight)


class Questions:
    """The tasks that a batch is asked, one in each slot.

    Args:
        tasks: the tasks.
        labels: (N, slots) right answers of all utterances.
        weight: weight of the tasks' mean loss.
    """

    reads_once = False

    def __init__(self, tasks: Sequence[_Task], labels: np.ndarray, weight: float) -> None:
        self.tasks, self.labels, self.weight = tasks, labels, weight

    def room(self, _: int) -> int:
        """Number of tokens behind an utterance: the slots."""
        return len(self.tasks)

    def ask(
        self, model: UnitLM, cache: Cache, rows: Sequence[int], scale: float
    ) -> tuple[Tensor, Tensor, int]:
        """Read the slots behind utterances that the cache holds.

        Args:
            model: the unit LM.
            cache: the utterances, with room for the slots.
            rows: which utterances these are.
            scale: units for each utterance, by which the loss is multiplied, so that it weighs as
                much as the loss of all units.

        Returns:
            Weighted cross-entropy in nats, summed over the utterances and averaged over the tasks;
            number of correct answers; number of all.
        """
        slots = torch.stack([task.slot for task in self.tasks])
        shifts = torch.stack([task.shifts for task in self.tasks], dim=1)
        answers = to_device(torch.from_numpy(self.labels[rows]), slots.device)
        hidden = model.extend(slots.expand(len(rows), -1, -1), cache, shifts)
        scores = model.logits(hidden)[..., N_SPECIALS:]
        losses, correct = [], []
        for task, asked, answer in zip(
            self.tasks, scores.unbind(1), answers.unbind(1), strict=True
        ):
            told = F.linear(asked, task.head)
            losses.append(F.cross_entropy(told, answer, reduction="sum"))
            correct.append((told.detach().argmax(1) == answer).sum())
        loss = scale * self.weight * torch.stack(losses).mean()
        return loss, torch.stack(correct).sum(), answers.numel()


class _Task(nn.Module):
    """What is trained for one made-up task.

    Parameters: ``slot`` (D,), ``shifts`` (layers, D) and ``head`` (clusters, units).
    """

    def __init__(self, config: LMConfig, n_clusters: int) -> None:
        super().__init__()
        n_units = config.n_symbols - N_SPECIALS
        self.slot = nn.Parameter(torch.randn(config.dim) * config.dim**-0.5)
        self.shifts = nn.Parameter(torch.randn(config.layers, config.dim) * SHIFT)
        self.head = nn.Parameter(torch.randn(n_clusters, n_units) * HEAD)


def _project(units: Sequence[np.ndarray], generator: np.random.Generator) -> np.ndarray:
    """Principal components (N, at most 64) of the utterances' weighted counts of n-grams.

    They are scaled by the square root of their standard deviations, so that the first ones do not
    decide alone.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.utils.extmath import randomized_svd

    vectorizer = TfidfVectorizer(
        preprocessor=lambda row: " ".join(map(str, row.tolist())),
        ngram_range=(1, 3),
        token_pattern=r"\d+",
        sublinear_tf=True,
        max_features=MAX_NGRAMS,
        dtype=np.float32,
    )
    chosen = generator.choice(len(units), min(len(units), MAX_SAMPLE), replace=False)
    counts = vectorizer.fit_transform([units[i] for i in chosen])
    svd_seed = int(generator.integers(2**32))
    n_components = min(N_COMPONENTS, *counts.shape)
    _, _, axes = randomized_svd(counts, n_components, n_iter=3, random_state=svd_seed)
    parts = [
        vectorizer.transform(units[start : start + MAX_SAMPLE]) @ axes.T
        for start in range(0, len(units), MAX_SAMPLE)
    ]
    components = np.concatenate(parts)
    spread = components.std(axis=0)
    return components / np.sqrt(np.maximum(spread, 1e-6))
