"""A task from a few recordings of each label."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from small_run import RATE, record, sound
from speechprompt import load_predictor
from speechprompt.cli import main
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.predict import enrolment
from speechprompt.predict.task_folder import open_task
from speechprompt.storage.files import read_json, write_json


@pytest.fixture
def quick(monkeypatch):
    """One short epoch."""
    monkeypatch.setattr(enrolment, "FEWEST_DRAWN", 4)
    monkeypatch.setattr(enrolment, "DRAWN", 2)


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for i, label in enumerate(("yes", "no", "stop")):
        record(tmp_path / label, 2, start=10 * i)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def enrol(*folders, task="mine", options=()):
    return main(["enrol", "--task", task, *folders, *options, "--compute-threads", "1"])


def test_words_of_a_speaker_are_learnt_on_the_spot(shared_data, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    words, heard = ("zero", "one", "two"), []
    for digit, word in enumerate(words):
        files = sorted((shared_data / "fsdd").glob(f"{digit}_theo_*.wav"))
        (tmp_path / word).mkdir()
        for file in files[:5]:
            shutil.copy(file, tmp_path / word)
        heard += [(file, word) for file in files[5:]]
    assert enrol("zero/", "one/", "two/") == 0
    assert "results/mine: 3 labels from 15 recordings" in capsys.readouterr().err
    found = load_predictor("results/mine").predict([file for file, _ in heard])
    right = [answer.answer == word for answer, (_, word) in zip(found, heard, strict=True)]
    assert sum(right) >= 0.9 * len(right)
    # Another training has the same bytes, and replaces the first.
    first = (tmp_path / "results/mine/prompt.safetensors").read_bytes()
    assert enrol("zero", "one", "two") == 0
    assert (tmp_path / "results/mine/prompt.safetensors").read_bytes() == first
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["mine"]


def test_recordings_are_answered_by_the_same_command(folders, quick, capsys):
    assert enrol("yes", "no", options=["--predict", "stop", "--predict", "yes"]) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["file"] for answer in answers] == [
        str(path) for label in ("stop", "yes") for path in sorted(Path(label).iterdir())
    ]
    assert {answer["task"] for answer in answers} == {"mine"}


def test_a_label_is_the_name_that_is_given_also_of_a_link(folders, quick, capsys):
    for name, target in (("ja", "yes"), ("nein", "no")):
        Path(name).symlink_to(target)
    part = f"{min(Path('yes').iterdir())}#t=0.02,0.18"
    assert enrol("ja", "nein/", options=["--predict", part]) == 0
    (answer,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert set(answer["probabilities"]) == {"ja", "nein"}


def test_a_recording_to_answer_that_is_missing_is_named_before_the_training(folders, capsys):
    assert enrol("yes", "no", options=["--predict", "nwe.wav"]) == 1
    assert "--predict: nwe.wav: no such file or folder" in capsys.readouterr().err
    assert not Path("results").exists()


def test_the_folder_can_be_moved_to_another_machine(folders, quick):
    assert enrol("yes", "no", options=["--out", "here"]) == 0
    described = read_json("here/model.json")
    for reference in (described["unit_lm"], described["codebook"], described["encoder"]["weights"]):
        reference["path"] = "/gone/" + reference["path"].rsplit("/", 1)[-1]
    write_json("here/model.json", described)
    shutil.move("here", "there")
    assert open_task("there").unit_lm.is_file()
    (answer,) = load_predictor("there").predict("stop/020.wav")
    assert set(answer.probabilities) == {"yes", "no"}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["yes"], "expected two labels or more, each with a folder of its own, found 'yes'"),
        (["yes", "empty"], "label 'empty' has no recordings"),
        (["yes", "yes/"], "expected a folder for each label, found two for 'yes'"),
        (["yes", "nothing"], "nothing: expected a folder with a label's recordings, found nothing"),
        (["yes", "yes/000.wav"], "yes/000.wav: expected a folder with a label's recordings"),
        (["yes", "again"], "yes/000.wav and again/copy.wav are one recording with two labels"),
        (["yes", "bad"], "2 of 5 recordings cannot be used: bad/cut.wav: "),
        (["yes", "no", "--task", "my task"], "--task: a name has only letters"),
        (["yes", "no", "--task", "units"], "--task: a name has only letters"),
        (["yes", "no", "--out", "full"], "full: expected no such folder, or one of an earlier"),
        (["yes", "no", "--out", "yes/000.wav"], "yes/000.wav: expected no such folder"),
    ],
)
def test_what_cannot_be_learnt_from_is_one_line(folders, words, expected, capsys):
    (folders / "empty").mkdir()
    (folders / "full").mkdir()
    (folders / "full/metrics.json").write_text("{}")
    (folders / "again").mkdir()
    shutil.copy(folders / "yes/000.wav", folders / "again/copy.wav")
    record(folders / "bad", 1)
    (folders / "bad/cut.wav").write_bytes((folders / "yes/000.wav").read_bytes()[:1000])
    (folders / "bad/song.m4a").write_bytes(b"x")
    assert enrol(*words) == 1
    message = capsys.readouterr().err
    assert expected in message
    assert message.count("\n") == 1
    assert not (folders / "results").exists()


def test_few_recordings_are_warned_of(folders, quick, capsys):
    assert enrol("yes", "no") == 0
    assert "warning: 'yes' has 2 recording(s); 5 or more are better" in capsys.readouterr().err


def test_a_cut_off_enrolment_leaves_the_earlier_one(folders, quick, monkeypatch):
    assert enrol("yes", "no") == 0
    before = (folders / "results/mine/prompt.safetensors").read_bytes()

    def stop(*arguments, **settings):
        raise KeyboardInterrupt

    monkeypatch.setattr(enrolment, "describe_model", stop)
    assert enrol("no", "stop") == 130
    assert (folders / "results/mine/prompt.safetensors").read_bytes() == before
    assert [path.name for path in (folders / "results").iterdir()] == ["mine"]


def test_waveforms_of_a_program_are_learnt_from(tmp_path, quick):
    recordings = {
        label: {str(i): sound(10 * n + i) for i in range(2)}
        for n, label in enumerate(("low", "high"))
    }
    result = enrolment.train_on_recordings(recordings, tmp_path / "task", task="tones")
    assert (result.epochs, result.best_epoch) == (0, 0)
    soundfile.write(tmp_path / "a.wav", sound(3), RATE)
    (answer,) = load_predictor(tmp_path / "task").predict(tmp_path / "a.wav")
    assert (answer.task, np.round(sum(answer.probabilities.values()), 4)) == ("tones", 1)
    with pytest.raises(ConfigError, match="two labels or more"):
        enrolment.train_on_recordings({"low": recordings["low"]}, tmp_path / "task", task="tones")
    with pytest.raises(ArtefactError, match=r"expected no such folder, .* found a\.wav, task"):
        enrolment.train_on_recordings(recordings, tmp_path, task="tones")
