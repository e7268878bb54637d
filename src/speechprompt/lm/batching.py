"""Cutting a batch into micro-batches that are computed at once."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import torch

from speechprompt.errors import CorpusError

__all__ = ["check_lengths", "micro_batches", "micro_budget"]


# Slots of an even micro-batch, which keep a GPU busy.
EVEN_SLOTS = 6000


def micro_batches(
    lengths: Sequence[int] | Mapping[int, int],
    order: Sequence[int],
    budget: int,
    even: bool = False,
) -> list[list[int]]:
    """Cut a batch into micro-batches of similar lengths whose padded size stays within a budget.

    Args:
        lengths: number of slots of every sequence of the corpus.
        order: indices of the sequences in the batch.
        budget: most slots of a micro-batch, padding included; a single sequence may have more.
        even: whether equally many sequences are taken each time, so that shapes recur.

    Returns:
        Lists of indices, the longest sequences first.
    """
    order = sorted(order, key=lambda i: (-lengths[i], i))
    if even and order:
        n_pieces = max(1, round(sum(lengths[i] for i in order) / EVEN_SLOTS))
        size = -(-len(order) // (8 * n_pieces)) * 8
        size = min(size, max(1, budget // lengths[order[0]]))
        return [order[i : i + size] for i in range(0, len(order), size)]
    pieces: list[list[int]] = []
    for index in order:
        if pieces and lengths[pieces[-1][0]] * (len(pieces[-1]) + 1) <= budget:
            pieces[-1].append(index)
        else:
            pieces.append([index])
    return pieces


def micro_budget(
    asked: int | Literal["auto"],
    token_bytes: int,
    device: torch.device | str,
    on_processor: int = 4096,
) -> int:
    """The slots of a micro-batch.

    Args:
        asked: their number, or ``auto``: on a GPU what takes a third of its memory. That depends on
            the card alone and not on what else runs there, so that a repeated training adds up in
            the same order.
        token_bytes: memory that one slot takes.
        device: where they are computed.
        on_processor: what ``auto`` is on a processor, whose caches are small.
    """
    device = torch.device(device)
    if asked != "auto":
        return asked
    if device.type != "cuda":
        return on_processor
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(on_processor, memory // 3 // token_bytes)


def check_lengths(names: Iterable[str], needed: Iterable[int], max_positions: int) -> None:
    """Refuse a sequence that is longer than the unit LM reads.

    Args:
        names: what each sequence is called in the message.
        needed: positions that each needs.
        max_positions: positions that the unit LM has.

    Raises:
        CorpusError: naming the first such sequence.
    """
    for name, n in zip(names, needed, strict=True):
        if n > max_positions:
            raise CorpusError(
                f"{name} needs {n} positions, but the unit LM has {max_positions}; leave it out or "
                "use a unit LM with more (lm.max_positions)"
            )
