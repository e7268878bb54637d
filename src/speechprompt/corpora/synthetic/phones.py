"""The phones of synthetic speech in time, from the events that eSpeak NG reports."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from speechprompt.corpora.synthetic.espeak import SAMPLE_RATE, Event

__all__ = ["QUIET_DB", "SILENCE", "Alignment", "align", "loud_samples"]

SILENCE = "sil"
# Samples that are lower than the peak by more than this are silence.
QUIET_DB = 55.0


@dataclass(frozen=True, slots=True)
class Alignment:
    """Phones in time, without gaps between them.

    Attributes:
        phones: eSpeak NG's mnemonics with their marks of stress; :data:`SILENCE` for pauses.
        starts: Their starts in seconds, ascending; a phone lasts until the next one starts.
        end: The end of the last phone, in seconds.
    """

    phones: tuple[str, ...]
    starts: tuple[float, ...]
    end: float

    def stretch(self, factor: float) -> "Alignment":
        """The same phones, each ``factor`` times as long."""
        starts = tuple(start * factor for start in self.starts)
        return Alignment(self.phones, starts, self.end * factor)

    def warp(self, times: np.ndarray, moved: np.ndarray) -> "Alignment":
        """The same phones, each moment of ``times`` moved to that of ``moved``; both ascend."""
        starts, end = np.interp(self.starts, times, moved), np.interp(self.end, times, moved)
        return _lay_out(list(zip(self.phones, starts.tolist(), strict=True)), float(end))

    def place(self, offset: float, end: float) -> "Alignment":
        """The same phones within a recording, with silence around them.

        Args:
            offset: Their start in the recording, in seconds; if it is negative, their beginning is
                cut off.
            end: Length of the recording, in seconds; later phones are cut off.
        """
        moved = zip(self.phones, (start + offset for start in self.starts), strict=True)
        return _lay_out([(SILENCE, 0.0), *moved, (SILENCE, self.end + offset)], end)


def align(waveform: np.ndarray, events: Iterable[Event]) -> Alignment:
    """Turn eSpeak NG's events into phones.

    A phone starts at its event, or at the silence right before it if this has no event of its own.
    In phonetic transcriptions, too, the closure is part of a stop.

    Args:
        waveform: float32 ``[n_samples]``, the speech.
        events: Its events, in order.

    Returns:
        Phones from the first sample to the last.
    """
    loud = loud_samples(waveform)
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


def loud_samples(waveform: np.ndarray, quiet_db: float = QUIET_DB) -> np.ndarray:
    """Indices of the samples that are no silence, in order."""
    return np.flatnonzero(np.abs(waveform) > np.abs(waveform).max() * 10 ** (-quiet_db / 20))


def _lay_out(segments: Sequence[tuple[str, float]], end: float) -> Alignment:
    """Cut phones and their starts to 0 … ``end``, remove empty ones and join adjacent silences."""
    phones: list[str] = []
    starts: list[float] = []
    for (phone, start), (_, stop) in pairwise([*segments, ("", end)]):
        start, stop = max(start, 0.0), min(stop, end)
        if start < stop and not (phone == SILENCE and phones and phones[-1] == SILENCE):
            phones.append(phone)
            starts.append(start)
    return Alignment(tuple(phones), tuple(starts), end)
