"""From finished tasks and any audio to answers."""

import io
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from small_run import LABELS, record, sound, task_model
from speechprompt import load_predictor
from speechprompt.audio.paths import AudioPaths
from speechprompt.audio.reading import AudioError
from speechprompt.cli import main
from speechprompt.config.tasks import DecodingSettings
from speechprompt.encoders.mfcc import MfccEncoder
from speechprompt.errors import CorpusError
from speechprompt.predict import predictor
from speechprompt.predict.answer import Answer, AnswerTable, write_answer
from speechprompt.predict.task_folder import describe_model
from speechprompt.prompting.decoding import Predictions
from speechprompt.storage.files import read_json
from speechprompt.units import extraction


def folders(run, *tasks):
    return [run / "results" / task for task in tasks or LABELS]


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_tasks_together_answer_as_one_by_one(run):
    files = record(run / "audio", 8)
    together = load_predictor(*folders(run)).predict(files)
    assert [(a.file, a.task) for a in together] == list(itertools.product(map(str, files), LABELS))
    for task in LABELS:
        alone = load_predictor(run / "results" / task).predict(files)
        mixed = [answer for answer in together if answer.task == task]
        assert [a.answer for a in mixed] == [a.answer for a in alone]
        assert np.allclose([a.score for a in mixed], [a.score for a in alone], atol=1e-4)
    assert len({a.answer for a in together}) > 8


def test_an_utterance_alone_has_the_answer_it_has_among_others(run):
    files = record(run / "audio", 8)
    loaded = load_predictor(*folders(run))
    alone = [answer for file in files for answer in loaded.predict([file])]
    assert [a.answer for a in alone] == [a.answer for a in loaded.predict(files)]


def test_what_is_shared_is_loaded_once(run, monkeypatch):
    built = []
    load = predictor.load_encoder
    monkeypatch.setattr(
        predictor, "load_encoder", lambda **settings: built.append(settings) or load(**settings)
    )
    loaded = load_predictor(*folders(run))
    assert len(built) == 1
    assert len(loaded.encoders) == len(loaded.units) == 1
    assert len({id(task.model.model) for task in loaded.tasks}) == 1


def test_an_answer_has_what_its_task_tells(run):
    answers = load_predictor(*folders(run)).predict(record(run / "audio", 3))
    by_task = {answer.task: answer for answer in answers}
    ks, ic, asr, sf = (by_task[task] for task in ("ks", "ic", "asr", "sf"))
    assert ks.labels == {"label": ks.answer}
    assert sum(ks.probabilities.values()) == pytest.approx(1)
    assert ks.probability == pytest.approx(max(ks.probabilities.values()))
    assert max(ks.probabilities, key=ks.probabilities.get) == ks.answer
    assert ic.answer == f"{ic.labels['action']} | {ic.labels['place']}"
    assert ic.probabilities is None
    assert asr.labels is None
    assert sf.slots is not None
    for answer in answers:
        assert answer.probability == pytest.approx(np.exp(answer.score))
        assert 0 < answer.probability <= 1


def test_an_answer_of_several_columns_is_calibrated_as_a_whole():
    shares = np.array([[0.8, 0.2, 0.7, 0.2, 0.1]])
    found = Predictions([[0, 2]], np.log([0.56]), np.array([True]), np.log(shares))
    plain, flat = (write_answer("a.wav", "ic", LABELS["ic"], found, 0, t) for t in (1.0, 2.0))
    assert plain.labels == flat.labels == {"action": "on", "place": "here"}
    assert (plain.probability, plain.probabilities) == (pytest.approx(0.56), None)
    roots = np.sqrt(shares[0])
    expected = roots[0] / roots[:2].sum() * roots[2] / roots[2:].sum()
    assert (flat.probability, flat.score) == (pytest.approx(expected), plain.score)


def test_a_hundred_files_of_all_kinds_are_encoded_once_each(run, tmp_path, monkeypatch, capsys):
    files = record(tmp_path, 90)
    for i in range(90, 100):
        stereo = np.stack([sound(i, 0.5, 44100)] * 2, axis=1)
        files.append(tmp_path / f"{i}.{'flac' if i % 2 else 'ogg'}")
        soundfile.write(files[-1], stereo, 44100)
    np.random.default_rng(0).shuffle(files)
    encoded = []
    encode = MfccEncoder.encode

    def counted(self, waveforms):
        encoded.extend(len(waveform) for waveform in waveforms)
        return encode(self, waveforms)

    monkeypatch.setattr(MfccEncoder, "encode", counted)
    monkeypatch.setattr(extraction, "WINDOW_SECONDS", 5.0)
    assert main(["predict", *map(str, folders(run)), *map(str, files)]) == 0
    assert len(encoded) == 100
    found = lines(capsys)
    assert [line["file"] for line in found[:: len(LABELS)]] == list(map(str, files))
    assert len(found) == 400


def test_broken_files_are_reported_in_their_place(run, tmp_path, capsys):
    good = record(tmp_path, 3)
    bad = {
        "empty.wav": (b"", "empty"),
        "text.flac": (b"no audio at all", "not audio"),
        "cut.wav": (good[0].read_bytes()[:2000], "truncated"),
    }
    for name, (content, _) in bad.items():
        (tmp_path / name).write_bytes(content)
    soundfile.write(tmp_path / "long.wav", np.zeros(401 * 100), 100)
    soundfile.write(tmp_path / "loud.wav", np.full(9000, np.nan), 16000, subtype="FLOAT")
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe.wav")
    (tmp_path / "no.raw").write_bytes(b"ab" * 999)
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.wav"))
    odd.write_bytes(b"RIFF")
    given = [
        *(tmp_path / "pipe.wav", tmp_path / "no.raw", odd, tmp_path / ("x" * 300)),
        *(good[0], tmp_path / "empty.wav", tmp_path / "text.flac", good[1], tmp_path / "gone.wav"),
        *(tmp_path / "folder", tmp_path / "long.wav", tmp_path / "loud.wav"),
        *(tmp_path / "cut.wav", good[2]),
    ]
    assert main(["predict", *map(str, folders(run, "ks", "ic")), *map(str, given)]) == 1
    found = lines(capsys)
    assert [line["file"] for line in found] == [str(path) for path in given for _ in range(2)]
    for line in found:
        name = os.path.basename(line["file"])
        if line["file"] in map(str, good):
            assert "error" not in line
        else:
            reason = {n: why for n, (_, why) in bad.items()} | {
                "gone.wav": "not found",
                "pipe.wav": "not a file but a named pipe",
                "no.raw": "not audio",
                odd.name: "not audio",
                "x" * 300: "cannot be opened (File name too long)",
                "folder": "no audio files",
                "long.wav": "401 s long",
                "loud.wav": "not finite",
            }
            assert reason[name] in line["error"]
            assert "answer" not in line
    alone = load_predictor(*folders(run, "ks", "ic")).predict(good)
    assert [a.answer for a in alone] == [line["answer"] for line in found if "answer" in line]


def test_an_utterance_too_long_for_the_unit_lm_is_an_error_of_its_own(run, tmp_path):
    soundfile.write(tmp_path / "long.wav", np.concatenate([sound(i) for i in range(40)]), 16000)
    files = [*record(tmp_path, 2), tmp_path / "long.wav"]
    answers = load_predictor(*folders(run, "ks", "asr")).predict(files)
    assert [answer.error is None for answer in answers] == [True] * 4 + [False] * 2
    assert "leave no room" in answers[-1].error


def test_python_takes_one_file_several_or_folders(run):
    files = record(run / "audio", 2)
    predictor = load_predictor(*folders(run, "ks"))

    def answered(given):
        return [(answer.file, answer.answer, answer.error) for answer in predictor.predict(given)]

    each = answered(files)
    assert answered(str(files[0])) == each[:1]
    in_folder = answered(run / "audio")
    assert set(each) < set(in_folder)
    assert answered([files[1], run / "audio"]) == [each[1], *in_folder]
    assert answered("no.wav") == [("no.wav", None, "file not found")]


def test_folders_lists_and_standard_input(run, tmp_path, capsys, monkeypatch):
    files = record(tmp_path / "a" / "b", 2) + record(tmp_path / "a", 2, start=5, ending="flac")
    (tmp_path / "a" / "notes.txt").write_text("no audio")
    (tmp_path / "a" / ".hidden.wav").write_bytes(b"")
    listed = tmp_path / "list.txt"
    listed.write_text(f"{files[1]}\n\n{files[0]}\r\n", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{files[2]}\n{tmp_path / 'a' / 'b'}\n"))
    task = str(run / "results/ks")
    assert main(["predict", task, str(tmp_path / "a"), "-", "--list", str(listed)]) == 0
    in_folder = [files[2], files[3], files[0], files[1]]
    expected = [*in_folder, files[2], files[0], files[1], files[1], files[0]]
    assert [line["file"] for line in lines(capsys)] == list(map(str, expected))


def test_options_may_stand_anywhere(run, tmp_path, capsys):
    files = [str(file) for file in record(tmp_path, 3)]
    (tmp_path / "list.txt").write_text(files[2])
    task, listed = str(run / "results/ks"), str(tmp_path / "list.txt")
    assert main(["predict", task, "--list", listed, files[0], "--json", files[1]]) == 0
    assert [line["file"] for line in lines(capsys)] == files


def test_lines_of_another_program_are_answered_as_they_come(run, tmp_path):
    files = record(tmp_path, 3)
    read, write = os.pipe()
    with open(read) as stream:
        paths = AudioPaths(["-"], stream=stream)
        os.write(write, f"{files[0]}\n{files[1]}\n".encode())
        blocks = load_predictor(run / "results/ks").stream(paths, paths.is_waiting)
        assert [answer.file for answer in next(blocks)] == list(map(str, files[:2]))
        os.write(write, str(files[2]).encode())
        os.close(write)
        assert [[answer.file for answer in block] for block in blocks] == [[str(files[2])]]
    assert paths.total is None


def test_audio_on_standard_input_is_explained(tmp_path):
    recording = record(tmp_path, 1)[0]
    with open(recording) as stream, pytest.raises(CorpusError, match="a path a line"):
        list(AudioPaths(["-"], stream=stream))


def test_memory_holds_a_window_whatever_comes(run, monkeypatch):
    files = record(run / "audio", 8)
    monkeypatch.setattr(extraction, "WINDOW_SECONDS", 1.0)
    read = []

    def endless():
        for file in itertools.cycle(files):
            read.append(file)
            yield file

    blocks = load_predictor(run / "results/ks").stream(endless())
    for _ in range(5):
        block = next(blocks)
        assert sum(soundfile.info(answer.file).duration for answer in block) < 1.7
    assert len(read) < 5 * 9
    monkeypatch.setattr(predictor, "WINDOW_FILES", 3)
    broken = load_predictor(run / "results/ks").stream(
        AudioError(f"{i}.wav", "broken") for i in itertools.count()
    )
    assert [len(next(broken)) for _ in range(3)] == [3, 3, 3]


def test_a_fine_tuned_lm_has_its_own_and_leaves_the_shared_one(copied):
    results = copied / "results"
    files = record(copied / "audio", 4)
    before = load_predictor(results / "ks").predict(files)
    lm_path = results / "lm/tiny/model.safetensors"
    tuned = task_model("asr", lm_path, 5, finetune=True)
    for parameter in tuned.model.parameters():
        parameter.data *= 1.01
    prompt = results / "tuned/prompt.safetensors"
    tuned.save(prompt, {"task": "tuned", "answers": LABELS["asr"].state(), "seed": 1})
    described = read_json(results / "asr/model.json")
    describe_model(
        results / "tuned/model.json",
        task="tuned",
        prompt=prompt,
        unit_lm=lm_path,
        codebook=results / "codebooks/tiny.safetensors",
        encoder=described["encoder"]["settings"],
        deduplicate=True,
        decoding=DecodingSettings(**described["decoding"]),
    )
    alone = load_predictor(results / "tuned").predict(files)
    mixed = load_predictor(results / "tuned", results / "ks").predict(files)
    assert [a.answer for a in mixed[::2]] == [a.answer for a in alone]
    assert [a.answer for a in mixed[1::2]] == [a.answer for a in before]
    assert [a.answer for a in alone] != [
        a.answer for a in load_predictor(results / "asr").predict(files)
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["audio"], "audio: expected the folder of a finished task"),
        (["results/ks"], "expected recordings"),
        (["results/ks", "audio", "results/ic"], "results/ic: expected folders of tasks first"),
        (["results/ks", "-", "-"], "once, found it 2 times"),
        (["results/ks", "audio", "--json", "--table"], "found both"),
        (["results/ks", "--list", "none.txt"], "none.txt: cannot be read"),
    ],
)
def test_a_wrong_command_line_is_explained(run, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(run)
    assert main(["predict", *words]) == 1
    assert expected in capsys.readouterr().err


def test_a_table_for_people(run, tmp_path, monkeypatch, capsys):
    record(tmp_path, 2)
    monkeypatch.chdir(tmp_path)
    words = ["predict", str(run / "results/ks"), "000.wav", "gone.wav", "001.wav", "--table"]
    assert main(words) == 1
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["file", "task", "answer", "probability"]
    assert rows[1].startswith("000.wav   ks    ")
    assert 0 < float(rows[1].split()[-1]) <= 1
    assert rows[2] == "gone.wav  ks    error: file not found"
    assert len({len(rows[i]) for i in (0, 1, 3)}) == 1


def test_a_table_widens_as_it_goes_on():
    table = AnswerTable()
    first = table.block([Answer("a", "ks", "yes", -0.1, 0.9)])
    assert first.count("\n") == 1
    later = table.block([Answer("a/long/name", "ks", "", -20.0, 2e-9)])
    assert later.split() == ["a/long/name", "ks", "-", "2.0e-09"]


def test_tasks_of_the_same_name_are_told_apart(run, copied):
    answers = load_predictor(run / "results/ks", copied / "results/ks").predict(
        record(run / "audio", 1)
    )
    assert [a.task for a in answers] == [str(run / "results/ks"), str(copied / "results/ks")]
    assert answers[0].answer == answers[1].answer


def test_importing_the_package_is_light():
    check = (
        "import sys, speechprompt; speechprompt.load_predictor;"
        "print({'torch', 'numpy', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_real_recordings(run, shared_data):
    """Telephone-band WAVs of people: the same answers alone, together and in another order."""
    files = sorted((shared_data / "fsdd").glob("*.wav"))[::60][:24]
    assert len(files) == 24
    loaded = load_predictor(*folders(run, "ks", "asr"))
    answers = {(a.file, a.task): a for a in loaded.predict(files)}
    assert len(answers) == 48
    assert len({a.score for a in answers.values()}) > 40
    alone = [answer for file in files[:6] for answer in loaded.predict([file])]
    for again in loaded.predict(files[::-1]) + alone:
        assert answers[again.file, again.task].answer == again.answer
        assert answers[again.file, again.task].score == pytest.approx(again.score, abs=1e-4)
