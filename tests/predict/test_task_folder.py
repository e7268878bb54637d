"""A finished task's folder: it may be moved, and refuses files that are not of its training."""

import json
import shutil

import numpy as np
import pytest

import small_run
from small_run import LABELS, record, write_run
from speechprompt import load_predictor
from speechprompt.audio.reading import read_audio
from speechprompt.audio.speed import play_at
from speechprompt.cli import main
from speechprompt.config.tasks import DecodingSettings
from speechprompt.errors import ArtefactError, ConfigError
from speechprompt.models.shipped import FORMER, shipped_model
from speechprompt.predict.task_folder import describe_model
from speechprompt.prompting.decoding import predict
from speechprompt.storage.files import read_json, write_json
from speechprompt.storage.tensors import read_tensors, write_tensors


def test_a_run_may_be_moved(copied, run):
    files = record(run / "audio", 4)
    before = load_predictor(*(run / "results" / task for task in LABELS)).predict(files)
    assert load_predictor(*(copied / "results" / task for task in LABELS)).predict(files) == before
    text = (copied / "results/ks/model.json").read_text()
    assert str(copied) not in text
    assert str(run) not in text


@pytest.mark.parametrize(
    "name", ["lm/tiny/model.safetensors", "codebooks/tiny.safetensors", "ks/prompt.safetensors"]
)
def test_another_file_than_that_of_the_training_is_refused(copied, name):
    path = copied / "results" / name
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(ArtefactError, match=r"has sha256 \w+, but this file"):
        load_predictor(copied / "results/ks")
    path.unlink()
    with pytest.raises(ArtefactError, match="missing"):
        load_predictor(copied / "results/ks")


def test_a_prompt_of_another_unit_lm_is_refused_whatever_model_json_says(copied):
    path = copied / "results/lm/tiny/model.safetensors"
    tensors, metadata = read_tensors(path)
    write_tensors(path, tensors, metadata | {"trained": "again"})
    results = copied / "results"
    described = read_json(results / "ks/model.json")
    describe_model(
        results / "ks/model.json",
        task="ks",
        prompt=results / "ks/prompt.safetensors",
        unit_lm=path,
        codebook=results / "codebooks/tiny.safetensors",
        encoder=described["encoder"]["settings"],
        deduplicate=True,
        decoding=DecodingSettings(**described["decoding"]),
    )
    with pytest.raises(ArtefactError, match="trained with lm_sha256"):
        load_predictor(results / "ks")


def test_other_settings_of_the_encoder_are_refused(copied):
    path = copied / "results/ks/model.json"
    described = read_json(path)
    described["encoder"]["settings"]["cmvn"] = False
    write_json(path, described)
    with pytest.raises(ArtefactError, match="expected features of the encoder"):
        load_predictor(copied / "results/ks")


def test_weights_may_be_elsewhere(tmp_path):
    """HuBERT-nano: where it was, as it is shipped, or where the user says."""
    own = tmp_path / "run" / "resources" / "hubert.safetensors"
    own.parent.mkdir(parents=True)
    shutil.copyfile(shipped_model("hubert-nano.safetensors"), own)
    encoder = {"kind": "hubert", "weights": str(own), "layer": 2, "batch_seconds": 10.0}
    run = write_run(tmp_path / "run", encoder, ["ks"])
    files = record(run / "audio", 2)
    before = load_predictor(run / "results/ks").predict(files)
    own.unlink()
    assert load_predictor(run / "results/ks").predict(files) == before
    moved = shutil.copyfile(shipped_model("hubert-nano.safetensors"), tmp_path / "moved.st")
    assert load_predictor(run / "results/ks", weights=moved).predict(files) == before
    moved.write_bytes(moved.read_bytes()[:-1] + b"?")
    with pytest.raises(ArtefactError, match="but this file"):
        load_predictor(run / "results/ks", weights=moved)
    path = run / "results/ks/model.json"
    described = read_json(path)
    described["encoder"]["weights"]["sha256"] = next(iter(FORMER))
    write_json(path, described)
    with pytest.raises(ArtefactError, match=r"weights of .* are missing; .*\(tag v0\.1\.0"):
        load_predictor(run / "results/ks")


def test_what_cannot_answer_audio_says_so(copied, tmp_path):
    results = copied / "results"
    ready = results / "ks/model.json"
    described = read_json(ready)
    write_json(ready, described | {"encoder": None, "codebook": None})
    with pytest.raises(ArtefactError, match="ready units"):
        load_predictor(results / "ks")
    ready.unlink()
    with pytest.raises(ArtefactError, match=r"no model\.json; finish it again"):
        load_predictor(results / "ks")
    pooled = {"method": "prompt", "type": "classification", "per_fold": {"1": {}, "2": {}}}
    write_json(results / "ks/metrics.json", pooled)
    with pytest.raises(ArtefactError, match=r"its 2 folds has a prompt .*/ks/fold-1/acc\.txt`"):
        load_predictor(results / "ks")
    write_json(results / "ks/metrics.json", {"method": "downstream"})
    with pytest.raises(ArtefactError, match="'downstream' cannot"):
        load_predictor(results / "ks")
    with pytest.raises(ArtefactError, match="expected the folder of a task"):
        load_predictor(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="once"):
        load_predictor(results / "ic", results / "ic")
    with pytest.raises(ConfigError, match="at least one task"):
        load_predictor()


@pytest.mark.parametrize(
    "change",
    [
        {"encoder": []},
        {"encoder": {"settings": {}}},
        {"encoder": {"settings": {"kind": 7}, "weights": None}},
        {"prompt": "here"},
        {"prompt": {"path": 7, "sha256": ""}},
        {"unit_lm": {}},
        {"codebook": 3},
        {"decoding": {"beam": "wide"}},
        {"decoding": None},
        {"deduplicate": None, "task": None, "decoding": []},
        {"speeds": 3},
        {"speeds": ["fast"]},
        {"speeds": [0]},
    ],
)
def test_damaged_content_is_one_sentence(copied, change, capsys):
    folder = copied / "results/ks"
    recording = str(record(copied / "audio", 1)[0])
    write_json(folder / "model.json", read_json(folder / "model.json") | change)
    assert main(["predict", str(folder), recording]) == 1
    told = capsys.readouterr().err
    assert "Traceback" not in told
    assert "results/ks" in told or "model.json" in told or "encoder" in told


def test_a_task_hears_recordings_at_its_speeds_and_others_do_not(copied):
    files = record(copied / "audio", 4)
    folders = [copied / "results" / task for task in LABELS]
    before = load_predictor(*folders).predict(files)
    described = read_json(folders[0] / "model.json")
    del described["speeds"]  # as it was written by earlier versions
    write_json(folders[0] / "model.json", described)
    assert load_predictor(*folders).predict(files) == before
    speeds = [0.85, 1.2]
    write_json(folders[0] / "model.json", described | {"speeds": speeds})
    loaded = load_predictor(*folders)
    after = loaded.predict(files)
    others = [answer for answer in before if answer.task != "ks"]
    assert [answer for answer in after if answer.task != "ks"] == others
    task = loaded.tasks[0]
    for file, answer in zip(files, after[:: len(LABELS)], strict=True):
        waveform = read_audio(file)
        scores = []
        for played in [waveform, *play_at(speeds, waveform)]:
            scores.append(predict(task.model, [task.units.encode(played, 16_000).units]))
        mean = np.mean([found.label_scores[0] for found in scores], axis=0)
        shares = np.exp(mean) / np.exp(mean).sum()
        expected = dict(zip(task.labels.names, shares, strict=True))
        assert answer.probabilities == pytest.approx(expected, abs=1e-4)
        assert answer.answer == max(expected, key=expected.get)


def test_model_json_does_not_depend_on_where_the_run_is(tmp_path, monkeypatch):
    write_run(tmp_path / "one" / "deep", tasks=["asr"])
    (tmp_path / "two").mkdir()
    monkeypatch.chdir(tmp_path / "two")
    write_run(".", tasks=["asr"])
    name = "results/asr/model.json"
    written = (tmp_path / "two" / name).read_bytes()
    assert written == (tmp_path / "one" / "deep" / name).read_bytes()
    assert json.loads(written)["unit_lm"]["path"] == "../lm/tiny/model.safetensors"
    assert json.loads(written)["decoding"] == small_run.DECODING["asr"]
