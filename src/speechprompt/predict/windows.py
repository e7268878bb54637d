"""Long recordings and streams: answers to windows, merged to segments with times."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from speechprompt.audio.reading import LARGEST_RATE, SAMPLE_RATE, AudioError, resample
from speechprompt.errors import ConfigError
from speechprompt.predict.answer import NONE, Answer
from speechprompt.predict.predictor import Predictor

__all__ = ["Segment", "Windows", "find_segments", "pcm_blocks"]

# Windows that are answered together.
BATCH = 64
BYTES = 65_536
SHORTEST = 0.02
# A loudness that only digital silence is below.
SILENT = 1e-6
# Decibels that a sound is above the noise, and windows by which the noise is judged.
ABOVE_NOISE, REMEMBERED = 8, 256
# Seconds of a pause, and hundredths of a second that are kept around what is between two.
PAUSE, MARGIN = 0.2, 3


@dataclass(frozen=True)
class Windows:
    """How a long recording is cut.

    Attributes:
        seconds: length of a window.
        hop: seconds from the start of a window to that of the next.
        silence: what is more than this many decibels quieter than the loudest so far, or about as
            quiet as the quietest, is a pause. Of every window, the task hears what is between the
            pauses around its middle; a pause in its middle is ``none``. 0 knows no pauses.
    """

    seconds: float = 1.0
    hop: float = 0.25
    silence: float = 30.0

    def __post_init__(self) -> None:
        if not SHORTEST <= self.hop <= self.seconds <= 400:
            raise ConfigError(
                f"expected a window of at most 400 s and a hop from {SHORTEST} s up to the window, "
                f"found window {self.seconds:g} and hop {self.hop:g}"
            )
        if not 0 <= self.silence <= 200:
            raise ConfigError(f"expected silence in decibels, 0 to 200, found {self.silence:g}")


@dataclass(frozen=True, repr=False)
class Segment:
    """A stretch of a recording to whose windows a task gives one answer.

    Attributes:
        file: the recording, as the caller named it.
        task: name of the task.
        start, end: seconds from the beginning.
        label: the answer.
        probability: that of its surest window.
    """

    file: str
    task: str
    start: float
    end: float
    label: str
    probability: float

    def __repr__(self) -> str:
        times = f"{self.start:.2f}-{self.end:.2f} s"
        return f"<Segment {times}: {self.label!r} ({self.probability:.4f})>"


def find_segments(
    predictor: Predictor,
    blocks: Iterable[tuple[np.ndarray, int]],
    windows: Windows,
    name: str,
    *,
    at_once: bool = False,
) -> Iterator[Segment]:
    """Answer the windows of a recording and merge neighbours with the same answer.

    What is between two pauses and shorter than a window has its own times. Within longer speech
    every window stands for the hop in its middle. Windows whose answer is ``none`` belong to no
    segment.

    Args:
        predictor: the tasks.
        blocks: samples ``[n]`` of any length and their rate in Hz, in order.
        windows: how the recording is cut.
        name: name of the recording.
        at_once: whether each block is answered when it comes, as for a stream.

    Raises:
        AudioError: the recording cannot be read on; what came before has been answered.
    """
    mergers, level = [_Merger(name, task.name) for task in predictor.tasks], _Level(windows.silence)
    for batch in _batches(_cut(blocks, windows), at_once):
        frames = [_loudness(window) for window in batch]
        level.hear(frames)
        floor = level.floor()
        heard = [
            _between_pauses(window, loudness >= floor)
            for window, loudness in zip(batch, frames, strict=True)
        ]
        asked = [window for window in heard if window is not None]
        waveforms = [resample(window.samples, window.rate, SAMPLE_RATE) for window in asked]
        answers = iter(predictor.answer([name] * len(asked), waveforms) if asked else ())
        for part in heard:
            for merger in mergers:
                answer = None if part is None else next(answers)
                if part and answer and answer.error is not None:
                    for each in mergers:
                        yield from each.close()
                    reason = f"{part.start:.2f} to {part.end:.2f} s: {answer.error}"
                    raise AudioError(name, reason)
                yield from merger.add(part, answer)
    for merger in mergers:
        yield from merger.close()


def pcm_blocks(stream: BinaryIO, rate: int) -> Iterator[tuple[np.ndarray, int]]:
    """Read raw PCM, 16 bits, little-endian, one channel, as it comes.

    Args:
        stream: the bytes.
        rate: sample rate in Hz.

    Raises:
        ConfigError: an impossible rate.
    """
    if not 1 <= rate <= LARGEST_RATE:
        raise ConfigError(f"--pcm: expected a rate of 1 to {LARGEST_RATE:,} Hz, found {rate}")
    read = getattr(stream, "read1", stream.read)
    rest = b""
    while content := read(BYTES):
        content = rest + content
        whole = len(content) // 2 * 2
        content, rest = content[:whole], content[whole:]
        yield np.frombuffer(content, "<i2").astype(np.float32) / 2**15, rate


@dataclass(frozen=True)
class _Window:
    """A window, or the part of one that is between pauses.

    Attributes:
        samples: float32 ``[n]``.
        rate: their rate in Hz.
        offset: seconds from the beginning of the recording to the first sample.
        start, end: the stretch that it stands for, in seconds.
        ends_block: whether the next window needs samples that have not come yet.
    """

    samples: np.ndarray
    rate: int
    offset: float
    start: float
    end: float
    ends_block: bool = False


class _Level:
    """How loud a recording is, and from where on it is no pause.

    Args:
        silence: see :class:`Windows`.
    """

    def __init__(self, silence: float) -> None:
        self.silence, self.loudest = silence, 0.0
        self.latest: deque[np.ndarray] = deque(maxlen=REMEMBERED)

    def hear(self, frames: Sequence[np.ndarray]) -> None:
        """Take the loudness of the frames of some windows."""
        self.loudest = max(self.loudest, *(float(row.max()) for row in frames))
        self.latest += frames

    def floor(self) -> float:
        """The loudness below which there is a pause."""
        if not self.silence:
            return 0.0
        below_loudest = self.loudest * _factor(-self.silence)
        quiet = float(np.percentile(np.concatenate(self.latest), 10))
        # Speech without pauses has quiet frames as well, though not as quiet as that.
        above_quiet = min(quiet * _factor(ABOVE_NOISE), self.loudest * _factor(-self.silence / 2))
        return max(below_loudest, above_quiet, SILENT)


def _factor(decibels: float) -> float:
    return float(10 ** (decibels / 20))


@dataclass
class _Merger:
    """Joins the answers to windows, in order."""

    file: str
    task: str
    label: str | None = None
    start: float = 0.0
    end: float = 0.0
    probability: float = 0.0

    def add(self, window: _Window | None, answer: Answer | None) -> list[Segment]:
        """Take the next window; return the segment that ends before it, if one does."""
        if window is None or answer is None or answer.answer in (None, NONE):
            return self.close()
        share = answer.probability or 0.0
        done = []
        overlap = min(self.end, window.end) - max(self.start, window.start)
        same_stretch = 2 * overlap > min(self.end - self.start, window.end - window.start)
        joined = window.start <= self.end and (answer.answer == self.label or same_stretch)
        if self.label is None or not joined:
            done = self.close()
            self.start, self.end, self.probability = window.start, window.end, -1.0
        if share > self.probability:  # of two answers to one stretch the surer one
            self.label, self.probability = answer.answer, share
        self.start, self.end = min(self.start, window.start), max(self.end, window.end)
        return done

    def close(self) -> list[Segment]:
        """End the present segment."""
        if self.label is None:
            return []
        times = (round(self.start, 4), round(self.end, 4))
        found = Segment(self.file, self.task, *times, self.label, self.probability)
        self.label = None
        return [found]


def _cut(blocks: Iterable[tuple[np.ndarray, int]], windows: Windows) -> Iterator[_Window]:
    """Cut windows out of blocks.

    The first stands for all up to the end of its middle hop too, and the last, which ends with the
    recording, for all that is left.
    """
    kept, rate, first = np.zeros(0, np.float32), SAMPLE_RATE, 0  # first: number of kept[0]
    length = hop = 0
    for block, rate in blocks:
        length, hop = round(windows.seconds * rate), max(1, round(windows.hop * rate))
        kept = np.concatenate((kept, block))
        while len(kept) >= length + hop:  # the last window may not be one of these
            start = 0.0 if first == 0 else (first + (length - hop) / 2) / rate
            end = (first + (length + hop) / 2) / rate
            ends_block = len(kept) < length + 2 * hop
            yield _Window(kept[:length], rate, first / rate, start, end, ends_block)
            kept, first = kept[hop:], first + hop
    total = first + len(kept)
    start = 0.0 if first == 0 else (first + (length - hop) / 2) / rate
    if len(kept) > length:
        end = (first + (length + hop) / 2) / rate
        yield _Window(kept[:length], rate, first / rate, start, end)
        start = end
    if start < total / rate:
        last = kept[-length:]
        yield _Window(last, rate, (total - len(last)) / rate, start, total / rate)


def _loudness(window: _Window) -> np.ndarray:
    """Root mean square of each hundredth of a second, over a tenth of a second around it."""
    size = max(1, window.rate // 100)
    n = -(-len(window.samples) // size)
    power = np.pad(window.samples.astype(np.float64) ** 2, (0, n * size - len(window.samples)))
    smoothed = np.convolve(power.reshape(n, size).mean(1), np.full(5, 0.2), mode="same")
    return np.sqrt(smoothed)


def _between_pauses(window: _Window, is_loud: np.ndarray) -> _Window | None:
    """What is between the pauses around the middle of a window; None in a pause.

    Args:
        window: the window.
        is_loud: of each hundredth of a second.
    """
    if is_loud.all():
        return window
    loud = np.flatnonzero(is_loud)
    if not len(loud):
        return None
    # Runs of loud frames, as (first, last); a gap of less than a pause is within one.
    breaks = np.flatnonzero(np.diff(loud) > 100 * PAUSE)
    firsts, lasts = loud[np.append(0, breaks + 1)], loud[np.append(breaks, len(loud) - 1)]
    own = (np.array([window.start, window.end]) - window.offset) * 100
    chosen = np.flatnonzero((lasts >= own[0]) & (firsts < own[1]))
    if not len(chosen):
        return None
    run = chosen[np.argmax(lasts[chosen] - firsts[chosen])]
    size = max(1, window.rate // 100)
    first = max(0, firsts[run] - MARGIN) * size
    last = min((lasts[run] + 1 + MARGIN) * size, len(window.samples))
    # At the edge of a window it may go on.
    start = window.offset + first / window.rate if first > 0 else window.start
    end = window.offset + last / window.rate if last < len(window.samples) else window.end
    if end - start < SHORTEST:
        return None
    samples = window.samples[first:last]
    return _Window(samples, window.rate, window.offset + first / window.rate, start, end)


def _batches(windows: Iterable[_Window], at_once: bool) -> Iterator[list[_Window]]:
    batch: list[_Window] = []
    for window in windows:
        batch.append(window)
        if len(batch) == BATCH or (at_once and window.ends_block):
            yield batch
            batch = []
    if batch:
        yield batch
