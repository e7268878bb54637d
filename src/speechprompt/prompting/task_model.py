"""A unit LM adapted to one task: prompt, verbalizer, loss, and the file that keeps them.

A ``prompt.safetensors`` holds exactly the trained tensors: those of the prompt and of a learnable
verbalizer. For the fine-tuning baseline (FT-LM) it holds the whole LM instead of a prompt.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from speechprompt.errors import ConfigError
from speechprompt.lm.artefact import LoadedLM
from speechprompt.lm.cache import Cache
from speechprompt.lm.dictionary import END, SEPARATOR, Dictionary
from speechprompt.lm.fairseq import weights
from speechprompt.lm.model import UnitLM
from speechprompt.lm.pack import Pack
from speechprompt.lm.packing import pack_padded
from speechprompt.lm.prompt_tensors import PromptTensors
from speechprompt.prompting.loss import Reading, TeacherForcingLoss, cross_entropy
from speechprompt.prompting.padded import Padded
from speechprompt.prompting.prompt import Prompt
from speechprompt.runtime.device import to_device
from speechprompt.runtime.replay import replays
from speechprompt.storage.tensors import write_tensors
from speechprompt.tasks.verbalizer import Verbalizer

__all__ = ["FORMAT", "TaskModel"]

FORMAT = "speechprompt prompt 1"


class TaskModel:
    """A unit LM with what one task adds to it.

    Attributes:
        lm: the unit LM with its dictionary; frozen unless fine-tuned.
        prompt: None for a fine-tuned LM.
        verbalizer: units of the labels.
        allowed: label indices allowed at each position of an answer; None for generation, where
            every label and the end are allowed anywhere.
        combinations: those that answers may be whose columns are read at once; None for all.
        end_loss: whether ``</s>`` after the answer is predicted in training, as published.
        smoothing: share of each target that is spread over all that is allowed, in training only.
        dtype: number type of the activations.
        padded: how a GPU computes it; None where it is computed as here.

    Raises:
        ConfigError: a learnable verbalizer for generation without query rows, behind which alone
            the unit LM reads mixtures of units.
    """

    def __init__(
        self,
        lm: LoadedLM,
        prompt: Prompt | None,
        verbalizer: Verbalizer,
        allowed: Sequence[Sequence[int]] | None,
        *,
        combinations: list[list[int]] | None = None,
        end_loss: bool = True,
        smoothing: float = 0.0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        if verbalizer.writes and (prompt is None or prompt.mode != "query"):
            raise ConfigError(
                "verbalizer: learnable needs prompt.mode query where answers are written"
            )
        self.lm = lm
        self.prompt = prompt
        self.verbalizer = verbalizer
        self.allowed = None if allowed is None else [list(column) for column in allowed]
        self.combinations = combinations if self.reads_at_once else None
        self.end_loss = (end_loss or allowed is None) and not self.reads_at_once
        self.smoothing = smoothing
        self.dtype = dtype
        device = lm.model.embed.device
        if prompt is not None:
            prompt.to(device)
        verbalizer.to(device)
        dictionary = lm.dictionary
        self.unit_ids = torch.from_numpy(dictionary.ids(np.arange(dictionary.n_units))).to(device)
        self.label_ids = dictionary.ids(verbalizer.units)
        self.symbols = np.append(self.label_ids, END)
        self.label_table = torch.from_numpy(self.label_ids).to(device)
        self.allowed_masks = _allowed_masks(self.allowed, len(verbalizer.units)).to(device)
        padded = replays(device) and prompt is not None and prompt.mode in ("deep", "query")
        self.padded = Padded(self) if padded else None

    @property
    def model(self) -> UnitLM:
        """The transformer."""
        return self.lm.model

    @property
    def dictionary(self) -> Dictionary:
        """The dictionary, which maps units to ids and back."""
        return self.lm.dictionary

    @property
    def reads_at_once(self) -> bool:
        """Whether all labels of an answer are read at once: by a learnable verbalizer."""
        return self.verbalizer.kind == "learnable" and not self.verbalizer.writes

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return self.model.embed.device

    def named_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Exactly the trained parameters, by their names in the file."""
        if self.prompt is None:
            named = {"lm." + name: p for name, p in self.model.named_parameters()}
        else:
            named = dict(self.prompt.named_parameters())
        named |= {"verbalizer." + name: p for name, p in self.verbalizer.named_parameters()}
        return named

    def state(self) -> dict[str, Tensor]:
        """Tensors of the file: the trained ones; a fine-tuned LM has fairseq's names."""
        named = {name: p.detach() for name, p in self.named_parameters().items()}
        if self.prompt is None:
            named = {n: p for n, p in named.items() if not n.startswith("lm.")}
            named |= {"lm." + name: w.detach() for name, w in weights(self.model).items()}
        return named

    def prompt_tensors(self, seed: int | None = None) -> PromptTensors:
        """The prompt as the LM takes it, with dropout where a seed is given."""
        return PromptTensors() if self.prompt is None else self.prompt.tensors(seed)

    def length(self, units: np.ndarray, labels: Sequence[int] = ()) -> int:
        """Number of slots of an utterance with its answer and the prompt."""
        rows = self.prompt.n_rows if self.prompt else 0
        return rows + len(units) + 2 + len(labels)

    def n_positions(self, units: np.ndarray, labels: Sequence[int]) -> int:
        """Positions of the unit LM that an utterance with its answer takes."""
        rows = self.prompt.n_positions if self.prompt else 0
        return rows + len(units) + 2 + (0 if self.reads_at_once else len(labels))

    def slots(
        self, units: Sequence[np.ndarray], labels: Sequence[Sequence[int]] = ()
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Utterances ``</s> u1 … un <s>`` with the prompt's slots and, if given, their answers.

        Returns:
            Their slots (B, T), padded with zeros, the number of each one's slots (B,), and the slot
            of its separator (B,).
        """
        length = 0 if self.prompt is None else self.prompt.n_slots
        behind = self.prompt is not None and self.prompt.stands_behind
        counts = np.fromiter(map(len, units), np.int64, len(units))
        answers = np.fromiter(map(len, labels or [()] * len(units)), np.int64, len(units))
        separators = length + counts + 1
        lengths = separators + 1 + answers
        slots = np.zeros((len(units), lengths.max()), np.int64)
        slot, line = np.arange(slots.shape[1]), np.arange(len(units))
        first = np.full(len(units), 1 if behind else 1 + length)
        slots[line, first - 1] = END
        slots[_within(slot, first, first + counts)] = self.dictionary.ids(np.concatenate(units))
        if length:
            start = separators - length if behind else 0 * separators
            slots[line[:, None], start[:, None] + np.arange(length)] = -1 - np.arange(length)
        slots[line, separators] = SEPARATOR
        if labels:
            chosen = np.concatenate(labels).astype(np.int64)
            slots[_within(slot, separators + 1, lengths)] = self.label_ids[chosen]
        return slots, lengths, separators

    def read(
        self,
        units: Sequence[np.ndarray],
        prompt: PromptTensors,
        labels: Sequence[Sequence[int]] = (),
        cache: Cache | None = None,
    ) -> Reading:
        """Read utterances, with their answers for teacher forcing, up to what answers depend on.

        Args:
            units: units 0..K-1 of each utterance.
            prompt: the prompt.
            labels: label indices of each answer, if it is to be read.
            cache: an empty cache, which is filled with what decoding needs.
        """
        if self.reads_at_once:
            labels = ()
        elif not self.end_loss:
            labels = [row[:-1] for row in labels]
        if prompt.shifts is not None:
            return self._read_behind(units, prompt, labels, cache)
        packed = self.pack(units, labels)
        hidden = self.model(packed, prompt, cache).index_select(0, packed.answers)
        return Reading(hidden, packed.lines, packed.places)

    def pack(self, units: Sequence[np.ndarray], labels: Sequence[Sequence[int]] = ()) -> Pack:
        """Pack sources with answers, if given; the separator and what follows are wanted."""
        slots, lengths, separators = self.slots(units, labels)
        rows = self.prompt is not None and self.prompt.has_live_rows
        device, dtype = self.device, self.dtype
        return pack_padded(slots, lengths, separators, rows, device=device, dtype=dtype)

    def _read_behind(
        self,
        units: Sequence[np.ndarray],
        prompt: PromptTensors,
        labels: Sequence[Sequence[int]],
        cache: Cache | None,
    ) -> Reading:
        """Read utterances, and then query rows, separator and answers behind them."""
        assert prompt.shifts is not None
        counts = np.fromiter(map(len, labels or [()] * len(units)), np.int64, len(units))
        places = np.arange(1 + counts.max())
        line, place = (places <= counts[:, None]).nonzero()
        answers = np.zeros((len(units), counts.max()), np.int64)
        if labels:
            answers[places[1:] <= counts[:, None]] = np.concatenate(labels)
        tables = torch.from_numpy(np.concatenate((answers.ravel(), line, place)))
        read, lines, nth = to_device(tables, self.device).split(
            [answers.size, len(line), len(line)]
        )
        cache = cache or Cache(room=0)
        cache.room += prompt.n_behind + answers.shape[1]
        slots, _, ends = self.slots(units)
        packed = pack_padded(
            slots[:, : ends.max()], ends, ends - 1, device=self.device, dtype=self.dtype
        )
        self.read_source(packed, prompt, cache)
        hidden = self.read_behind(read.view(answers.shape), prompt, cache)
        if self.reads_at_once:
            return Reading(hidden, lines, nth)
        return Reading(hidden[lines, nth + prompt.shifts.shape[1] - 1], lines, nth)

    def read_source(self, packed: Pack, prompt: PromptTensors, cache: Cache) -> None:
        """Read utterances that query rows will stand behind; they see rows in front only."""
        front = prompt.in_front
        with torch.set_grad_enabled(torch.is_grad_enabled() and front is not None):
            self.model(packed, front, cache)

    def read_behind(self, answers: Tensor, prompt: PromptTensors, cache: Cache) -> Tensor:
        """Read query rows, separator and the labels (B, n) of answers: (B, R + n, D)."""
        assert prompt.rows is not None
        assert prompt.separator is not None
        assert prompt.shifts is not None
        n, n_answers = answers.shape
        rows = torch.cat((prompt.rows, prompt.separator.unsqueeze(-2)), dim=-2).flatten(0, -2)
        behind = F.embedding(answers, self.label_embeddings())
        x = torch.cat((rows.expand(n, -1, -1), behind), dim=1)
        own, shift_of = prompt.shifts.flatten(1, -2), None
        if prompt.label_shifts is None:
            shifts = torch.cat((own, own[:, -1:].expand(-1, n_answers, -1)), dim=1)
        else:
            shifts = torch.cat((own, own[:, -1:] + prompt.label_shifts), dim=1)
            in_order = torch.arange(len(rows), device=answers.device)
            shift_of = torch.cat((in_order.expand(n, -1), len(rows) + answers), dim=1)
        return self.model.extend(x, cache, shifts, self.verbalizer.members, shift_of)

    def label_embeddings(self) -> Tensor:
        """What the unit LM reads for each label, (n_labels, D), before scaling."""
        embed = self.model.embed
        if self.verbalizer.writes:
            return self.verbalizer.inputs @ embed.index_select(0, self.unit_ids)
        return embed.index_select(0, self.label_table)

    def loss(
        self, units: Sequence[np.ndarray], labels: Sequence[Sequence[int]], prompt: PromptTensors
    ) -> TeacherForcingLoss:
        """Cross-entropy of the answers to utterances under teacher forcing."""
        if self.padded is not None:
            return self.padded.loss(units, labels, prompt)
        reading = self.read(units, prompt, labels)
        targets, judged, _ = self.targets(labels)
        there = to_device(torch.from_numpy(np.stack((targets, judged))), self.device)
        total, wrong = self.score(reading.hidden, there[0], there[1], reading.places)
        if self.reads_at_once:
            return TeacherForcingLoss(total, len(targets), ~wrong.view(len(units), -1).any(dim=1))
        n_wrong = torch.zeros(len(units), dtype=torch.long, device=self.device)
        n_wrong.index_add_(0, reading.lines, wrong.long())
        return TeacherForcingLoss(total, len(targets), n_wrong == 0)

    def targets(self, labels: Sequence[Sequence[int]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What is predicted in answers, all A positions one after the other.

        Returns:
            (A,) symbols, or labels where these are scored themselves; (A,) the right labels, -100
            for an end that is not judged; (B,) positions of each answer.
        """
        counts = np.fromiter(map(len, labels), np.int64, len(labels))
        found, end = np.concatenate(labels).astype(np.int64), len(self.label_ids)
        if self.end_loss:
            found = np.insert(found, counts.cumsum(), end)
        judged = found if self.allowed is None else np.where(found < end, found, -100)
        scored = self.verbalizer.writes or self.reads_at_once
        return (found if scored else self.symbols[found]), judged, counts + int(self.end_loss)

    def score(
        self, hidden: Tensor, targets: Tensor, judged: Tensor, places: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy () in nats, and which (A,) positions are wrong.

        Args:
            hidden: see :class:`Reading`.
            targets, judged: (A,) see :meth:`targets`; -100 is left out.
            places: (A,) positions in their answers.
        """
        scores, members = self.model.logits(hidden), self.verbalizer.members
        if self.reads_at_once:
            label_scores = self.verbalizer.label_scores(scores.index_select(-1, self.unit_ids))
            # (B, columns, n_labels), with several members (B, M, columns, n_labels).
            table = label_scores.unsqueeze(-2) + self.allowed_masks[:, :-1]
            asked = table.flatten(0, -2)
            if members > 1:
                table = table.log_softmax(-1).logsumexp(1)
                targets = targets.view(len(table), -1).repeat(1, members).flatten()
            table = table.flatten(0, 1)
        else:
            found = self._label_scores(scores)
            asked = found if self.verbalizer.writes else scores
            table = found + self._allowed(places)
        smoothing = self.smoothing if torch.is_grad_enabled() else 0.0
        total = cross_entropy(asked, targets, smoothing)
        total = total / members if members > 1 else total  # the mean of theirs
        return total, table.argmax(1).ne(judged) & (judged >= 0)

    def answer_scores(self, hidden: Tensor, position: Tensor) -> Tensor:
        """Log-probabilities (M, n_labels + 1) of the labels and the end that a position allows.

        Args:
            hidden: (M, D) hidden states, or (M, R, D) those that a learnable verbalizer reads.
            position: (M,) position in the answer.
        """
        found = self._label_scores(self.model.logits(hidden))
        allowed = self._allowed(position)
        if self.verbalizer.members == 1:
            return (found + allowed).log_softmax(1)
        by_member = (found + allowed[:, None]).log_softmax(2)
        return by_member.logsumexp(1) - math.log(self.verbalizer.members)

    def _label_scores(self, scores: Tensor) -> Tensor:
        """Scores (M, n_labels + 1) of labels and end from those of all symbols."""
        units = scores.index_select(-1, self.unit_ids)
        end = scores[:, END] if scores.dim() == 2 else scores[:, -1, END]
        if self.verbalizer.writes:
            return self.verbalizer.written_scores(torch.cat((units, end[:, None]), dim=1))
        labels = self.verbalizer.label_scores(units)
        if labels.dim() == 3:  # of several members
            return torch.cat((labels, end[:, None, None].expand(-1, labels.shape[1], 1)), dim=2)
        return torch.cat((labels, end[:, None]), dim=1)

    def _allowed(self, position: Tensor) -> Tensor:
        """What is added to the scores (M, n_labels + 1) at positions (M,)."""
        return self.allowed_masks[position.clamp(max=len(self.allowed_masks) - 1)]

    def save(self, path: str | Path, metadata: dict[str, Any]) -> None:
        """Write the trained tensors, and in the metadata what is needed to load them again."""
        shape = ("length", "members", "front", "mode", "layers", "dropout")
        prompt = self.prompt and {name: getattr(self.prompt, name) for name in shape}
        own = {
            "format": FORMAT,
            "method": "prompt" if self.prompt else "finetune",
            "prompt": prompt,
            "verbalizer": {
                "kind": self.verbalizer.kind,
                "units": self.verbalizer.units,
                "rows": self.verbalizer.rows,
                "writes": self.verbalizer.writes,
                "members": self.verbalizer.members,
            },
            "allowed": self.allowed,
            "combinations": self.combinations,
            "end_loss": self.end_loss,
            "lm_sha256": self.lm.sha256,
            "codebook_sha256": self.lm.codebook_sha256,
            "trainable_parameters": sum(p.numel() for p in self.named_parameters().values()),
        }
        write_tensors(path, self.state(), {**metadata, **own})


def _within(slot: np.ndarray, start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """(B, T) which slots (T,) stand from ``start`` (B,) on and before ``end`` (B,)."""
    return (slot >= start[:, None]) & (slot < end[:, None])


def _allowed_masks(allowed: list[list[int]] | None, n_labels: int) -> Tensor:
    """What is added to the scores, (positions, n_labels + 1): 0 or -inf; the end is last."""
    if allowed is None:
        return torch.zeros(1, n_labels + 1)
    masks = torch.full((len(allowed), n_labels + 1), float("-inf"))
    for mask, column in zip(masks, allowed, strict=True):
        mask[column] = 0.0
    return masks
