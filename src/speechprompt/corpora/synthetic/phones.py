"""Where the phones of synthetic speech are, by what eSpeak NG says of its own phonemes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from speechprompt.corpora.synthetic.espeak import SAMPLE_RATE, Event

__all__ = ["QUIET_DB", "SILENCE", "Alignment", "align"]

SILENCE = "sil"
# Quieter than this below the peak counts as silence.
QUIET_DB = 55.0


@dataclass(frozen=True, slots=True)
class Alignment:
    """Phones that follow each other without gaps.

    Attributes:
        phones: eSpeak NG's mnemonics with their marks of stress; :data:`SILENCE` for pauses.
        starts: Seconds, ascending; each phone lasts until the next, the last until ``end``.
        end: Seconds.
    """

    phones: tuple[str, ...]
    starts: tuple[float, ...]
    end: float

    def stretch(self, factor: float) -> Alignment:
        """The same phones, each ``factor`` times as long."""
        starts = tuple(start * factor for start in self.starts)
        return Alignment(self.phones, starts, self.end * factor)

    def place(self, offset: float, end: float) -> Alignment:
        """The same phones within a recording, silence around them.

        Args:
            offset: Where they begin in the recording, in seconds; below 0 their beginning is cut
                off.
            end: Length of the recording, in seconds; what is later is cut off.
        """
        moved = zip(self.phones, (start + offset for start in self.starts), strict=True)
        return _lay_out([(SILENCE, 0.0), *moved, (SILENCE, self.end + offset)], end)


def align(waveform: np.ndarray, events: Iterable[Event]) -> Alignment:
    """Turn eSpeak NG's events into phones.

    A phone starts at its event, or earlier: the silence right before it, which has no event of its
    own, is part of it, as the closure is part of a stop in phonetic transcriptions.

    Args:
        waveform: float32 ``[n_samples]``, as spoken.
        events: Its events, in order.

    Returns:
        Phones from the first sample to the last, in seconds.
    """
    loud = np.flatnonzero(np.abs(waveform) > np.abs(waveform).max() * 10 ** (-QUIET_DB / 20))
    segments = [(SILENCE, 0.0)]
    previous = 0
    for event in events:
        if event.kind == "pause":
            segments.append((SILENCE, event.sample / SAMPLE_RATE))
        elif event.kind == "phoneme":
            before = loud[: np.searchsorted(loud, event.sample)]
            start = max(previous, int(before[-1]) + 1 if len(before) else 0)
            segments.append((event.text, start / SAMPLE_RATE))
        else:
            continue
        previous = event.sample
    return _lay_out(segments, len(waveform) / SAMPLE_RATE)


def _lay_out(segments: Sequence[tuple[str, float]], end: float) -> Alignment:
    """Phones and their starts, cut to 0 … ``end``; what has no length is left out, and silences
    that touch are one.
    """
    phones: list[str] = []
    starts: list[float] = []
    for (phone, start), (_, stop) in pairwise([*segments, ("", end)]):
        start, stop = max(start, 0.0), min(stop, end)
        if start < stop and not (phone == SILENCE and phones and phones[-1] == SILENCE):
            phones.append(phone)
            starts.append(start)
    return Alignment(tuple(phones), tuple(starts), end)
