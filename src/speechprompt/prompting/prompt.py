"""The prompt: what is trained, and where it stands.

Modes (SpeechPrompt, arXiv 2203.16773, section 3; the published code for ``infix``):

- ``deep``: rows in some or all layers, 2 x layers x L x d numbers. They stand in the place of the
  inputs of the layer's frozen key and value projections, which the unit LM applies to them
  (``UnitLM.project_prompt`` of :mod:`speechprompt.lm.model`).
- ``input``: L rows in front of the embedded sequence, L x d numbers.
- ``both``: both of them. In a layer with deep rows these replace the input rows' keys and values,
  so that with deep rows in every layer the input rows have no effect.
- ``infix``: as ``both``, but the rows stand right before the separator instead of in front.
- ``query`` (not in the paper): L rows behind the utterance, right before the separator, and shifts
  of these rows and of the separator in front of every layer, (layers + 1) x L x d + layers x d
  numbers. The rows have positions. They read the utterance, which does not see the prompt: its own
  hidden states are those of the LM as it is, and get no gradient. Several members of a prompt do
  not see each other; their tensors have the members as a dimension of their own. Labels that a
  learnable verbalizer writes have a shift of their own, too: layers x labels x d numbers more.
  ``front`` adds F rows as in ``deep``, 2 x layers x F x d numbers. The utterance then sees these,
  and its hidden states depend on them; members share them.

Rows other than query rows have no position: nothing is added to them, and rotary positions turn
neither their keys nor their queries.

The separator's embedding, d numbers, is always trained.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from speechprompt.config.tasks import PromptSettings
from speechprompt.errors import ConfigError
from speechprompt.lm.model import LMConfig
from speechprompt.lm.prompt_tensors import PromptTensors
from speechprompt.runtime.device import to_device

__all__ = ["Prompt"]

# Standard deviation of the shifts at the start.
SHIFT = 0.3


class Prompt(nn.Module):
    """Trainable rows and separator for one task.

    Parameters, all float32: ``separator`` (D,); with input rows ``rows`` (L, D); with deep rows
    ``keys`` and ``values`` (layers, L, D), of F rows beside query rows; with query rows ``shifts``
    (all layers, L + 1, D), and where labels are written behind them ``label_shifts`` (all layers,
    labels, D), zeros at first.

    Args:
        config: shape of the unit LM.
        settings: length L, mode, layers with deep rows (``infix`` may have none), and dropout.
        generator: source of the initial values, normal with standard deviation d^-1/2 as published.
        n_written: number of labels that a learnable verbalizer writes.

    Raises:
        ConfigError: no layer, where the mode needs one, or a layer that the LM does not have.
    """

    def __init__(
        self,
        config: LMConfig,
        settings: PromptSettings,
        generator: torch.Generator | None = None,
        n_written: int = 0,
    ) -> None:
        super().__init__()
        mode, length = settings.mode, settings.length
        self.length, self.mode, self.dropout = length, mode, settings.dropout
        self.front = settings.front
        self.members = settings.members
        self.n_written = n_written if mode == "query" else 0
        own = (self.members,) if self.members > 1 else ()
        every = range(config.layers)
        chosen = every if settings.layers is None else set(settings.layers)
        if mode == "query":
            chosen = set(every) if self.front else set()
        self.layers = [] if mode == "input" else sorted(chosen)
        if unknown := [layer for layer in self.layers if layer not in every]:
            raise ConfigError(
                f"prompt.layers: the unit LM has layers 0..{config.layers - 1}, found {unknown[0]}"
            )
        if mode in ("deep", "both") and not self.layers:
            raise ConfigError(f"prompt.layers: mode {mode!r} needs at least one layer, found none")
        self.n_lm_layers = config.layers
        self._drawn: tuple[tuple[int, torch.device], tuple[Tensor, ...]] | None = None

        def normal(*shape: int) -> nn.Parameter:
            values = torch.empty(*shape, config.dim).normal_(generator=generator)
            return nn.Parameter(values.mul_(config.dim**-0.5))

        self.separator = normal(*own)
        if mode != "deep":
            self.rows = normal(*own, length)
        if self.layers:
            n_deep = self.front or length
            self.keys = normal(len(self.layers), n_deep)
            self.values = normal(len(self.layers), n_deep)
        if mode == "query":
            # Shifts of the size of hidden states, so that rows ask for different things at once.
            self.shifts = normal(config.layers, *own, length + 1)
            with torch.no_grad():
                self.shifts.mul_(SHIFT * config.dim**0.5)
        if self.n_written:
            self.label_shifts = nn.Parameter(torch.zeros(config.layers, n_written, config.dim))

    @torch.no_grad()
    def start_from(self, inputs: Tensor, generator: torch.Generator) -> None:
        """Set the rows to hidden rows of the frozen LM, which stand in their places otherwise.

        Args:
            inputs: (layers + 1, N, D), what :meth:`UnitLM.layer_inputs` gives for real units.
            generator: draws which of the N positions each prompt row copies.
        """
        n_rows = self.length * self.members
        chosen = torch.randint(inputs.shape[1], (n_rows,), generator=generator)
        if self.mode == "query":
            chosen = chosen.view(self.rows.shape[:-1])
            self.rows.copy_(inputs[0, chosen] / inputs.shape[2] ** 0.5)
        elif self.mode != "deep":
            self.rows.copy_(inputs[0, chosen])
        if self.layers:
            if self.front:
                chosen = torch.randint(inputs.shape[1], (self.front,), generator=generator)
            rows = inputs[1:][self.layers][:, chosen]
            self.keys.copy_(rows)
            self.values.copy_(rows)

    @property
    def has_live_rows(self) -> bool:
        """Whether the input rows reach the output, for which some layer must see them."""
        return self.mode == "query" or (self.mode != "deep" and len(self.layers) < self.n_lm_layers)

    @property
    def n_slots(self) -> int:
        """Slots of a packed sequence that the prompt takes; query rows stand behind it."""
        return self.front if self.mode == "query" else self.length

    @property
    def n_rows(self) -> int:
        """Rows that are computed or attended to for each utterance."""
        return self.front + self.members * (self.length + 1) - 1

    @property
    def n_positions(self) -> int:
        """Positions of the unit LM that the prompt takes."""
        return self.length if self.mode == "query" else 0

    @property
    def stands_behind(self) -> bool:
        """Whether the rows stand right before the separator instead of in front."""
        return self.mode == "infix"

    def tensors(self, seed: int | None = None) -> PromptTensors:
        """The prompt as the LM takes it; a seed draws a dropout mask, None drops nothing."""
        tensors: dict[str, Tensor] = {}
        if self.layers:
            tensors |= {"keys": self.keys, "values": self.values}
        if self.has_live_rows:
            tensors["rows"] = self.rows
        if self.mode == "query":
            tensors["shifts"] = self.shifts
        if self.n_written:
            tensors["label_shifts"] = self.label_shifts
        if seed is not None and self.dropout:
            sizes = [values.numel() for values in tensors.values()]
            for name, factor in zip(tensors, self._mask(seed, sizes), strict=True):
                tensors[name] = tensors[name] * factor.view_as(tensors[name])
        return PromptTensors(self.separator, layers=self.layers, **tensors)

    def _mask(self, seed: int, sizes: list[int]) -> tuple[Tensor, ...]:
        """Factors 0 or 1 / (1 - dropout), of so many numbers each; the last mask is kept."""
        device = self.separator.device
        if self._drawn is None or self._drawn[0] != (seed, device):
            # The host draws, so that masks are the same on every device, and fast.
            numbers = np.random.Generator(np.random.SFC64(seed)).integers(
                0, 2**16, sum(sizes), np.uint16
            )
            kept = torch.from_numpy(numbers >= round(2**16 * self.dropout))
            factors = to_device(kept, device) / (1 - self.dropout)
            self._drawn = (seed, device), factors.split(sizes)
        return self._drawn[1]
