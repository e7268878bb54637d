"""Audio: a recording is damaged, cut, something else, or not a file at all."""

import io
import json
import os
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from faults.tiny import RATE, STAGES, TASK, Tiny, tone
from faults.trial import CLEAN, SAME, SILENT, UNCLEAR, Case, Process, Stage, Verdict, judge

__all__ = ["faults"]

AUDIO = "corpus/audio"
DAMAGED = f"{AUDIO}/003.wav"
OTHERS = [f"{AUDIO}/000.wav", f"{AUDIO}/017.wav"]
PREDICT = ["predict", TASK, OTHERS[0], DAMAGED, OTHERS[1], "--json", "--device", "cpu"]
SIZE, RATE_FIELD, CHANNELS = 40, 24, 22  # fields of a WAV header


def _field(place: int, kind: str, value: int) -> Callable[[bytes], bytes]:
    packed = struct.pack(kind, value)
    return lambda content: content[:place] + packed + content[place + len(packed) :]


def _encoded(kind: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, tone(3), RATE, format=kind)
    return buffer.getvalue()


def _floats(value: float) -> bytes:
    buffer, samples = io.BytesIO(), tone(3)
    samples[100] = value
    soundfile.write(buffer, samples, RATE, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


# What the file holds instead. The recording is refused, or is the same as before.
CONTENT: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda wav: b"",
    "text": lambda wav: b"This is no audio.\n" * 50,
    "a page": lambda wav: b"<!DOCTYPE html><html><body>Log in</body></html>",
    "random bytes": lambda wav: np.random.default_rng(0).bytes(8000),
    "random bytes behind a header": lambda wav: wav[:12] + np.random.default_rng(0).bytes(8000),
    "a header only": lambda wav: wav[:44],
    "half a header": lambda wav: wav[:20],
    "cut in the middle": lambda wav: wav[: len(wav) // 2],
    "cut in a sample": lambda wav: wav[:-1],
    "more bytes at the end": lambda wav: wav + bytes(100),
    "twice": lambda wav: wav + wav,
    "a size of 0": _field(SIZE, "<I", 0),
    "the largest size": _field(SIZE, "<I", 2**32 - 1),
    "a size too large": _field(SIZE, "<I", 10**6),
    "a size too small": _field(SIZE, "<I", 1000),
    "a rate of 0": _field(RATE_FIELD, "<I", 0),
    "the largest rate": _field(RATE_FIELD, "<I", 2**32 - 1),
    "no channels": _field(CHANNELS, "<H", 0),
    "65,535 channels": _field(CHANNELS, "<H", 65535),
    "an unknown coding": _field(20, "<H", 0x7777),
    "NaN": lambda wav: _floats(float("nan")),
    "infinity": lambda wav: _floats(float("inf")),
    "FLAC, cut": lambda wav: _encoded("FLAC")[:-500],
    "FLAC, emptied from the middle": lambda wav: _zeroed(_encoded("FLAC")),
    "FLAC, more bytes at the end": lambda wav: _encoded("FLAC") + wav[44:99],
    "W64, more bytes at the end": lambda wav: _encoded("W64") + wav[44:99],
    "VOC, more bytes at the end": lambda wav: _encoded("VOC") + wav[44:99],
    "Ogg, cut": lambda wav: _encoded("OGG")[:-500],
    "Ogg, twice": lambda wav: _encoded("OGG") * 2,
    "MP3, twice": lambda wav: _encoded("MP3") * 2,
    "a container of video": lambda wav: b"\0\0\0\x20ftypM4A " + bytes(1000),
}


def _zeroed(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes(64) + content[middle + 64 :]


def _fifo(path: Path) -> None:
    os.mkfifo(path)


# What stands in place of the file.
PLACES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda path: None,
    "a folder": Path.mkdir,
    "a named pipe": _fifo,
    "a link to nothing": lambda path: path.symlink_to("nowhere.wav"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


def faults(run: Tiny) -> Iterator[Case]:
    """Every damage, for preparation and for prediction."""
    for name, damage in CONTENT.items():
        put = partial(_write, damage(run.content[DAMAGED]))
        yield Case(f"prepare, recording: {name}", partial(_prepare, run, put))
        yield Case(f"predict, recording: {name}", partial(_predict, run, put))
    for name, put_there in PLACES.items():
        yield Case(f"prepare, in place of it {name}", partial(_prepare, run, put_there))
        yield Case(f"predict, in place of it {name}", partial(_predict, run, put_there))


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def _prepare(run: Tiny, put: Callable[[Path], object], place: Path) -> Verdict:
    stage = STAGES["prepare-csv"]
    run.copy(place, without=stage)
    (place / DAMAGED).unlink()
    put(place / DAMAGED)
    process = Process(place, stage.words).start().wait(30)
    return judge(process, stage, run.content, [Path(DAMAGED).name])


def _predict(run: Tiny, put: Callable[[Path], object], place: Path) -> Verdict:
    """The recording is reported in its place, and the others are answered as before."""
    run.copy(place)
    expected = _answers(Process(place, PREDICT).start().wait())
    (place / DAMAGED).unlink()
    put(place / DAMAGED)
    process = Process(place, PREDICT).start().wait(30)
    verdict = judge(process, Stage("predict", (), ()), {}, [Path(DAMAGED).name])
    if verdict.outcome not in (SAME, CLEAN):
        return verdict
    found = _answers(process)
    if not all(_agree(found.get(other, {}), expected[other]) for other in OTHERS):
        return Verdict(SILENT, f"the others are not answered as before: {process.said}")
    answer = found.get(DAMAGED, {})
    if answer.get("error"):
        return Verdict(CLEAN if process.status else UNCLEAR, process.said)
    return Verdict(SAME if _agree(answer, expected[DAMAGED]) else SILENT, process.said)


def _agree(answer: dict, expected: dict) -> bool:
    """Whether answers are the same; scores may differ in rounding, as batches do."""
    scores = (one.get("score", float("inf")) for one in (answer, expected))
    return answer.get("answer") == expected["answer"] and abs(np.subtract(*scores)) < 1e-4


def _answers(process: Process) -> dict[str, dict]:
    lines = [json.loads(line) for line in process.said.splitlines() if line.startswith("{")]
    return {str(line["file"]): line for line in lines}
