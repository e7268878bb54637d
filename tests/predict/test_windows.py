"""Long recordings and streams: windows, pauses, segments with times and their formats."""

import io
import itertools
import json
import tracemalloc
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from small_run import record, sound
from speechprompt import load_predictor
from speechprompt.audio.reading import AudioError, read_blocks
from speechprompt.audio.waveforms import as_waveform
from speechprompt.cli import main
from speechprompt.cli.prediction import _print
from speechprompt.errors import ConfigError
from speechprompt.predict import enrolment
from speechprompt.predict.answer import NONE, Answer
from speechprompt.predict.predictor import Predictor
from speechprompt.predict.segments import segment_writer
from speechprompt.predict.windows import Segment, Windows, _cut, find_segments, pcm_blocks

RATE = 16000


class Listener:
    """A predictor whose answer is how loud a window is."""

    def __init__(self, threshold=0.01):
        self.tasks = [SimpleNamespace(name="loud")]
        self.heard = []
        self.threshold = threshold

    def answer(self, names, waveforms):
        self.heard += waveforms
        return [
            self._answer(name, waveform) for name, waveform in zip(names, waveforms, strict=True)
        ]

    def _answer(self, name, waveform):
        peak = float(np.abs(waveform).max())
        label = NONE if peak < self.threshold else "high" if peak > 0.6 else "low"
        return Answer(name, "loud", label, probability=peak)


def bursts(*times, seconds=6.0, rate=RATE):
    """Noise between pauses: (start, end, level) each."""
    samples = np.zeros(round(seconds * rate), np.float32)
    for start, end, level in times:
        n = round(end * rate) - round(start * rate)
        noise = np.random.default_rng(0).uniform(-level, level, n)
        samples[round(start * rate) : round(end * rate)] = noise
    return samples


def found(samples, rate=RATE, block=None, **settings):
    block = block or len(samples)
    blocks = ((samples[i : i + block], rate) for i in range(0, len(samples), block))
    return list(find_segments(Listener(), blocks, Windows(**settings), "a.wav"))


@pytest.mark.parametrize("n", [1, 100, 800, 1000, 1001, 1249, 1250, 1251, 5000, 5100])
@pytest.mark.parametrize("hop", [0.25, 0.3, 1.0])
def test_windows_stand_for_all_of_a_recording_once(n, hop):
    samples = np.arange(n, dtype=np.float32)
    whole = list(_cut([(samples, 1000)], Windows(1.0, hop)))
    assert whole[0].start == 0
    assert whole[-1].end == n / 1000
    for one, other in itertools.pairwise(whole):
        assert one.end == other.start
    for window in whole:
        assert len(window.samples) == min(n, 1000)
        assert window.samples[0] == pytest.approx(window.offset * 1000)
    pieces = list(_cut(((samples[i : i + 7], 1000) for i in range(0, n, 7)), Windows(1.0, hop)))
    assert [(w.start, w.end) for w in pieces] == [(w.start, w.end) for w in whole]
    assert all((a.samples == b.samples).all() for a, b in zip(pieces, whole, strict=True))


@pytest.mark.parametrize("block", [None, 1600, 5000])
def test_what_is_between_pauses_has_its_own_times(block):
    samples = bursts((1.0, 1.4, 0.9), (2.0, 2.3, 0.3), (4.1, 4.8, 0.9))
    segments = found(samples, block=block)
    assert [segment.label for segment in segments] == ["high", "low", "high"]
    expected = [(1.0, 1.4), (2.0, 2.3), (4.1, 4.8)]
    assert np.allclose([(s.start, s.end) for s in segments], expected, atol=0.06)


def test_long_speech_is_told_apart_by_the_middles_of_windows():
    samples = bursts((0.0, 3.0, 0.3), (3.0, 6.0, 0.9))
    low, high = found(samples, seconds=0.5, hop=0.1)
    assert (low.label, high.label) == ("low", "high")
    assert (low.start, high.end) == (0.0, 6.0)
    assert low.end == pytest.approx(high.start) == pytest.approx(3.0, abs=0.35)


def test_without_pauses_every_window_is_heard():
    samples = bursts((1.0, 1.4, 0.9))
    listener = Listener(threshold=0.5)
    windows = Windows(1.0, 0.25, silence=0)
    (segment,) = find_segments(listener, [(samples, RATE)], windows, "a")
    assert len(listener.heard) == 21
    assert {len(waveform) for waveform in listener.heard} == {RATE}
    assert segment.start < 1.0 < 1.4 < segment.end


def test_digital_silence_is_not_asked_about():
    listener = Listener()
    silent = [(np.zeros(3 * RATE, np.float32), RATE)]
    assert list(find_segments(listener, silent, Windows(), "a")) == []
    assert listener.heard == []


def test_a_window_that_cannot_be_answered_ends_the_recording():
    class Failing(Listener):
        def _answer(self, name, waveform):
            answer = super()._answer(name, waveform)
            return (
                replace(answer, answer=None, error="broken") if answer.answer == "low" else answer
            )

    samples = bursts((1.0, 1.4, 0.9), (3.0, 3.4, 0.3))
    segments = find_segments(Failing(), [(samples, RATE)], Windows(), "a.wav")
    assert next(segments).label == "high"
    with pytest.raises(AudioError, match=r"a\.wav: \d\.\d\d to \d\.\d\d s: broken"):
        list(segments)


def test_noise_between_quiet_words_is_a_pause():
    samples = bursts((1.0, 1.4, 0.05), (2.5, 2.9, 0.05), (4.5, 4.9, 0.05))
    samples += np.random.default_rng(1).normal(0, 0.002, len(samples)).astype(np.float32)
    expected = [(1.0, 1.4), (2.5, 2.9), (4.5, 4.9)]
    assert np.allclose([(s.start, s.end) for s in found(samples)], expected, atol=0.06)


def test_recordings_may_be_longer_than_an_utterance_and_of_any_rate():
    second = bursts((0.2, 0.6, 0.9), seconds=1.0, rate=8000)
    blocks = ((second, 8000) for _ in range(500))
    segments = list(find_segments(Listener(), blocks, Windows(1.0, 0.5), "a"))
    assert len(segments) == 500
    assert segments[-1].start == pytest.approx(499.2, abs=0.06)


def test_arrays_are_searched_as_files_are_in_little_memory(tmp_path):
    second = bursts((0.2, 0.6, 0.9), seconds=1.0, rate=8000)
    mono = np.concatenate([second, np.zeros(1999 * 8000, np.float32), second])
    samples = np.stack([mono * 32767] * 2, 1).astype("<i2")
    path = tmp_path / "long.wav"
    soundfile.write(path, samples, 8000)
    expected = [replace(s, file="waveform") for s in Predictor.find(Listener(), path)]
    assert len(expected) == 2
    with path.open("rb") as file:
        assert Predictor.find(Listener(), file) == expected
    for given in (samples, samples.T, torch.from_numpy(samples)):
        tracemalloc.start()
        assert Predictor.find(Listener(), given, 8000) == expected
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < samples.nbytes / 4
    samples = samples.astype(np.float32)
    samples[-1] = np.nan
    with pytest.raises(AudioError, match="waveform: has samples that are not finite"):
        Predictor.find(Listener(), samples / 32768, 8000)


def test_a_stream_is_answered_as_it_comes():
    samples = bursts((0.5, 0.9, 0.9), (2.0, 2.4, 0.9), seconds=8.0)
    content, asked = (samples * 32767).astype("<i2").tobytes(), []

    class Pipe(io.BytesIO):
        def read1(self, size=-1):
            asked.append(self.tell())
            return super().read(3201)  # an odd number of bytes

    blocks = pcm_blocks(Pipe(content), RATE)
    stream = find_segments(Listener(), blocks, Windows(0.5, 0.25), "x", at_once=True)
    assert next(stream).start == pytest.approx(0.5, abs=0.06)
    assert asked[-1] < len(content) / 4
    assert [segment.label for segment in stream] == ["high"]
    with pytest.raises(ConfigError, match="--pcm: expected a rate"):
        next(pcm_blocks(io.BytesIO(content), 0))


@pytest.mark.parametrize("settings", [(1.0, 2.0), (1.0, 0.0), (500.0, 1.0), (1.0, 0.5, -3.0)])
def test_impossible_windows_are_refused(settings):
    with pytest.raises(ConfigError, match=r"expected (a window|silence)"):
        Windows(*settings)


@pytest.mark.parametrize(
    ("form", "n_tasks", "expected"),
    [
        ("audacity", 1, "1.250000\t1.750000\tlights on"),
        ("audacity", 2, "1.250000\t1.750000\tks: lights on"),
        ("rttm", 1, "SPEAKER a_b 1 1.250 0.500 <NA> <NA> lights_on 0.9000 <NA>"),
        ("ctm", 1, "a_b 1 1.250 0.500 lights_on 0.9000"),
        ("table", 1, "    1.25      1.75  0.9000  ks  lights on  d/a b.wav"),
    ],
)
def test_formats(form, n_tasks, expected):
    segment = Segment("d/a b.wav", "ks", 1.25, 1.75, "lights on", 0.9)
    assert segment_writer(form, n_tasks=n_tasks)(segment) == expected


@pytest.mark.parametrize(("form", "column"), [("rttm", 1), ("ctm", 0)])
def test_recordings_of_one_name_are_told_apart(form, column):
    write, names = segment_writer(form), []
    for file in ("a/x.wav", "b/x.wav", "a/x.wav", "b/y.wav"):
        names.append(write(Segment(file, "ks", 1.0, 2.0, "yes", 0.9)).split()[column])
    assert names == ["x", "b/x", "x", "y"]


def test_parts_have_the_times_of_their_recording(tmp_path):
    talk = tmp_path / "talk.wav"
    soundfile.write(talk, bursts((0.2, 0.6, 0.9), (1.2, 1.6, 0.9)), RATE)
    write, lines = segment_writer("ctm"), {}
    for name in (str(talk), f"{talk}#t=0,1.1", f"{talk}#t=1.1,2.4"):
        segments = find_segments(Listener(), read_blocks(name), Windows(0.5, 0.25), name)
        lines[name] = [write(segment).split() for segment in segments]
    whole, first, second = lines.values()
    assert [line[0] for line in whole + first + second] == ["talk"] * 4
    times = ([float(line[2]) for line in found] for found in (whole, first + second))
    assert next(times) == pytest.approx(next(times), abs=0.05)


def test_a_name_that_is_taken_is_given_to_nobody_else():
    files = ["talk.wav", "talk.flac", "talk.wav#t=0,1.2", "talk.wav#t=1,2", "talk.flac#t=1,2"]
    files += ["a b.wav", "a_b.wav", "a_b_wav", "talk.wav#channel=1", "a.parquet#column=x&row=1"]
    files += ["a.parquet#column=y&row=1", "c/talk.flac", "d/talk", "d/talk.wav", "a b.wav#t=1.5"]
    write = segment_writer("rttm")
    lines = [write(Segment(file, "ks", 0.25, 0.5, "yes", 0.9)).split() for file in files]
    names = [line[1] for line in lines]
    assert names[:5] == ["talk", "talk.flac", "talk", "talk", "talk.flac"]
    assert [float(line[3]) for line in lines[:5]] == [0.25, 0.25, 0.25, 1.25, 1.25]
    recordings = [file.partition("#t=")[0] for file in files]
    assert len(set(names)) == len(set(recordings)) == len({*zip(names, recordings, strict=True)})


def test_the_command_line_prints_times(run, tmp_path, monkeypatch, capsys):
    task, long = str(run / "results/ks"), str(tmp_path / "long.wav")
    soundfile.write(long, np.concatenate([sound(i) for i in range(8)]), RATE)
    words = ["predict", task, long, "--window", "0.5", "--hop", "0.25"]
    assert main(words) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0].keys() == {"file", "task", "start", "end", "label", "probability"}
    assert [line["start"] for line in lines] == sorted(line["start"] for line in lines)
    assert main([*words, "--threshold", "1"]) == 0
    assert capsys.readouterr().out == ""
    assert main([*words, "--format", "ctm"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == len(lines)
    assert main([*words, "--format", "audacity"]) == 0
    columns = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert [label for _, _, label in columns] == [line["label"] for line in lines]
    samples = soundfile.read(long, dtype="int16")[0].astype("<i2").tobytes()
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(samples)))
    assert main(["predict", task, "-", "--pcm", "16000", *words[3:]]) == 0
    piped = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(p["start"], p["label"]) for p in piped] == [(x["start"], x["label"]) for x in lines]


def test_a_broken_recording_is_reported_in_its_place(run, tmp_path, capsys):
    good = record(tmp_path, 1)[0]
    given = [str(tmp_path / "none.wav"), str(good)]
    words = ["predict", str(run / "results/ks"), *given, "--window", "1"]
    assert main(words) == 1
    first, *others = map(json.loads, capsys.readouterr().out.splitlines())
    assert first == {"file": given[0], "error": "file not found"}
    assert {line["file"] for line in others} <= {str(good)}
    assert main([*words, "--format", "rttm"]) == 1
    assert "none.wav: file not found" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["a.wav", "--hop", "1"], "--hop, --silence and --format go with --window"),
        (["a.wav", "--pcm", "8000"], "--pcm: expected --window, and no recordings"),
        (["a.wav", "--window", "1", "--hop", "2"], "expected a window of at most 400 s and a hop"),
        (["a.wav", "--window", "1", "--hop", "0"], "expected a window of at most 400 s and a hop"),
        (["a.wav", "--window", "1", "--format", "ctm"], "--format ctm: expected one task"),
        (["none.csv", "--window", "1"], "none.csv: lists no recordings"),
        (["a.wav", "b.wav", "--window", "1", "--format", "audacity"], "expected one recording"),
        (["a.wav", "--threshold", "2"], "expected a threshold of 0 to 1, found 2"),
    ],
)
def test_options_that_do_not_go_together(run, tmp_path, monkeypatch, options, expected, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "none.csv").write_text("path\n")
    assert main(["predict", str(run / "results/ks"), str(run / "results/ic"), *options]) == 1
    assert expected in capsys.readouterr().err


def test_an_answer_below_the_threshold_is_none(run):
    files = record(run / "audio", 4)
    plain = load_predictor(run / "results/ks").predict(files)
    middle = sorted(answer.probability for answer in plain)[2]
    judged = load_predictor(run / "results/ks", threshold=middle).predict(files)
    for before, after in zip(plain, judged, strict=True):
        sure = before.probability >= middle
        assert after.answer == (before.answer if sure else NONE)
        assert (after.labels is None) == (not sure)
        assert after.probabilities == before.probabilities


def test_far_longer_or_shorter_recordings_are_warned_of(copied, capsys):
    task, audio = copied / "results/ks", copied / "audio"
    files = [str(audio / "short.wav"), str(audio / "long.wav"), str(record(audio, 9)[8])]
    soundfile.write(files[0], sound(1, 0.03), RATE)
    soundfile.write(files[1], sound(2, 3.0), RATE)
    predictor = load_predictor(task)
    predictor.tasks[0] = replace(predictor.tasks[0], trained_on=(10, 20))
    short, long, usual = predictor.predict(files)
    assert short.warning.startswith("far shorter than what the task was trained on, ")
    assert long.warning.endswith(
        "units and not 10 to 20; cut it, or answer it in windows (--window)"
    )
    assert usual.warning is None
    assert _print([[short, usual]], as_json=True) == 0
    found = capsys.readouterr()
    assert f"warning: {files[0]}: ks: far shorter" in found.err
    assert "warning" in json.loads(found.out.splitlines()[0])


@pytest.mark.slow
def test_words_are_found_in_a_recording_of_two_minutes(shared_data, tmp_path):
    """Digits with pauses, of which the task has heard other recordings."""
    words, speakers = ("zero", "one", "two", "six"), ("george", "theo")
    numbers = {"zero": 0, "one": 1, "two": 2, "six": 6}

    def say(word, speaker, i):
        return soundfile.read(shared_data / f"fsdd/{numbers[word]}_{speaker}_{i}.wav")[0]

    recordings = {
        word: {
            f"{speaker}{i}": as_waveform(say(word, speaker, i), 8000)
            for speaker in speakers
            for i in range(5)
        }
        for word in words
    }
    enrolment.train_on_recordings(recordings, tmp_path / "task", task="digits")
    rng = np.random.default_rng(0)
    parts, truth, n = [np.zeros(8000)], [], 8000
    while n < 120 * 8000:
        word = str(rng.choice(words))
        samples = say(word, rng.choice(speakers), rng.integers(10, 50))
        truth.append((n / 8000, (n + len(samples)) / 8000, word))
        parts += [samples, np.zeros(round(rng.uniform(0.4, 1.5) * 8000))]
        n += len(parts[-2]) + len(parts[-1])
    noisy = np.concatenate(parts) + rng.normal(0, 0.002, n)
    predictor = load_predictor(tmp_path / "task")
    blocks = [(noisy.astype(np.float32), 8000)]
    segments = list(find_segments(predictor, blocks, Windows(1.0, 0.25), "long"))

    def hits(label_counts):
        return sum(
            any(
                start - 0.1 <= (s.start + s.end) / 2 <= end + 0.1
                and (s.label == word or not label_counts)
                for s in segments
            )
            for start, end, word in truth
        )

    assert hits(False) >= 0.9 * len(truth)
    assert hits(True) >= 0.7 * len(truth)
    assert len(segments) <= 1.1 * len(truth)
