"""Floating-point operations that encoding, prompt tuning and inference need, however implemented.

A multiplication with its addition counts as two; only matrix products count (projections, feed-
forward network, attention scores and mixtures, logits). Counted are, for one piece of a batch:

- the forward pass of every *distinct prefix* of the utterances, no padding: utterances that begin
  alike share the hidden states of a causal model (the implementation shares them too);
- in the last layer keys and values of all rows, but queries, output projection and feed-forward
  network only of the rows whose prediction is wanted (labels and end in training, the next label in
  inference), and logits only there;
- deep prompt rows as keys and values: two projections per layer, never queries;
- in training the gradient of every activation that a trained number depends on: once more every
  product with a weight, twice the products of the attention. The weights are frozen, so no product
  for their gradients. In the first layer only prompt rows and separators can be trained: gradients
  stop at their keys, values and queries.

Pre-training needs the gradients of all weights and activations: every product counts three times,
once forward and twice backward.

Norms, activations, softmax, dropout and the optimiser count nothing.

Of an encoder count its convolutions, projections, attention and feed-forward networks up to the
layer that is asked for, of an utterance by itself: no padding. The positional convolution counts in
the frequency domain, where it takes the fewest operations: a complex product per frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from speechprompt.lm.dictionary import SEPARATOR
from speechprompt.lm.model import LMConfig

__all__ = [
    "Tree",
    "decoding_operations",
    "encoding_operations",
    "forward_operations",
    "pretraining_operations",
    "training_operations",
]


@dataclass(frozen=True)
class Tree:
    """Counts over the distinct prefixes (rows) of sequences; a row attends to its own prefixes.

    Attributes:
        rows: number of distinct prefixes.
        pairs: number of attended (row, row) pairs, without prompt rows.
        wanted: number of rows whose prediction is needed.
        wanted_pairs: number of pairs of those rows.
        separators: number of rows that are a separator.
        to_separators, from_separators: number of pairs that attend to a separator, and of pairs in
            which a separator attends.
    """

    rows: int = 0
    pairs: int = 0
    wanted: int = 0
    wanted_pairs: int = 0
    separators: int = 0
    to_separators: int = 0
    from_separators: int = 0

    @classmethod
    def of(
        cls, sequences: Sequence[Sequence[int] | np.ndarray], wanted_from: Sequence[int]
    ) -> Tree:
        """Count over sequences of ids, whose predictions are needed from the given index on."""
        seen: set[tuple[int, ...]] = set()
        wanted: set[tuple[int, ...]] = set()
        rows = {"pairs": 0, "to_separators": 0, "separators": 0, "from_separators": 0}
        for sequence, start in zip(sequences, wanted_from, strict=True):
            ids = tuple(int(id_) for id_ in sequence)
            n_separators = 0
            for depth in range(1, len(ids) + 1):
                prefix = ids[:depth]
                is_separator = prefix[-1] == SEPARATOR
                n_separators += is_separator
                if depth > start:
                    wanted.add(prefix)
                if prefix not in seen:
                    seen.add(prefix)
                    rows["pairs"] += depth
                    rows["to_separators"] += n_separators
                    rows["separators"] += is_separator
                    rows["from_separators"] += depth * is_separator
        return cls(len(seen), wanted=len(wanted), wanted_pairs=sum(map(len, wanted)), **rows)


def forward_operations(config: LMConfig, prompt_length: int, tree: Tree) -> int:
    """Operations of one forward pass with ``prompt_length`` deep prompt rows in every layer."""
    d = config.dim
    prompt = 4 * d * d * prompt_length
    full = _layer(config, tree.rows, tree.rows, tree.pairs + tree.rows * prompt_length)
    last = _layer(config, tree.rows, tree.wanted, tree.wanted_pairs + tree.wanted * prompt_length)
    logits = 2 * d * config.n_symbols * tree.wanted
    return (config.layers - 1) * full + last + config.layers * prompt + logits


def training_operations(config: LMConfig, prompt_length: int, tree: Tree) -> int:
    """Operations of one forward and backward pass; the model has two layers or more."""
    d, rows, length = config.dim, tree.rows, prompt_length
    pairs = tree.pairs + rows * length
    wanted_pairs = tree.wanted_pairs + tree.wanted * length
    full = _layer(config, rows, rows, pairs, attention=2)
    last = _layer(config, rows, tree.wanted, wanted_pairs, attention=2)
    # First layer: trained keys and values want the gradients of scores and mixtures of the pairs
    # that attend to them, trained queries those of their own pairs.
    trained = rows * length + tree.to_separators
    own = tree.from_separators + tree.separators * length
    both = tree.separators * (length + 1)
    attention = 2 * d * ((trained + own - both) + 2 * trained + own)
    first = rows * (2 * d * d + 4 * d * config.ffn) + 6 * d * d * tree.separators + attention
    prompt = config.layers * 4 * d * d * length
    logits = 2 * d * config.n_symbols * tree.wanted
    backward = first + (config.layers - 2) * full + last + prompt + logits
    return forward_operations(config, prompt_length, tree) + backward


def pretraining_operations(config: LMConfig, tree: Tree) -> int:
    """Operations of one forward and backward pass in which all weights are trained."""
    return 3 * forward_operations(config, prompt_length=0, tree=tree)


def decoding_operations(
    config: LMConfig, prompt_length: int, lengths: Sequence[int], steps: int
) -> int:
    """Operations of ``steps`` more tokens per sequence with key/value caches of these lengths."""
    contexts = prompt_length + np.asarray(lengths)[:, None] + np.arange(1, steps + 1)
    per_layer = _layer(config, contexts.size, contexts.size, int(contexts.sum()))
    return config.layers * per_layer + 2 * config.dim * config.n_symbols * contexts.size


def _layer(config: LMConfig, rows: int, queries: int, pairs: int, attention: int = 1) -> int:
    """Operations of a layer; ``attention`` is a factor for the products of the attention."""
    d = config.dim
    projections = 4 * d * d * rows + (4 * d * d + 4 * d * config.ffn) * queries
    return projections + attention * 4 * d * pairs


def encoding_operations(config: Mapping[str, Any], layer: int, n_samples: int) -> int:
    """Operations of one utterance through a HuBERT up to a layer, counted from 1."""
    operations, frames, channels = 0, n_samples, 1
    for outputs, kernel, stride in config["extractor_conv_layer_config"]:
        frames = (frames - kernel) // stride + 1
        operations += 2 * frames * outputs * kernel * channels
        channels = outputs
    d, ffn = config["encoder_embed_dim"], config["encoder_ff_interm_features"]
    operations += 2 * frames * channels * d
    operations += 8 * frames * d * d // config["encoder_pos_conv_groups"]
    per_layer = frames * (8 * d * d + 4 * d * ffn) + 4 * d * frames * frames
    return operations + layer * per_layer
