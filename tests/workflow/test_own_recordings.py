"""A user's own recordings through the pipeline, bad files and rare labels among them."""

import json
import os

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from pipeline import REPOSITORY, planned, snakemake
from speechprompt import load_predictor
from speechprompt.models.shipped import shipped_model
from speechprompt.storage.files import read_json

pytestmark = pytest.mark.slow

MODELS = {
    "encoder.safetensors": "hubert-nano.safetensors",
    "book.safetensors": "hubert-nano-100.safetensors",
    "lm.safetensors": "unit-lm-nano.safetensors",
}
SETUP_OF_MODELS = """
corpora:
  units: {kind: units, codebook: ready, train: train.txt, valid: valid.txt, columns: [word]}
encoders:
  mine: {kind: hubert, weights: encoder.safetensors, layer: 4}
codebooks:
  mine: {kind: given, encoder: mine, weights: book.safetensors}
  ready: {kind: external, dictionary: dict.txt}
lm:
  mine: {kind: given, codebook: mine, weights: lm.safetensors}
tasks: {}
"""


def record(finished, folder):
    """A user's folder: FLAC and WAV, stereo, 44.1 kHz, and files that cannot be read."""
    folder.mkdir()
    source = pd.read_csv(finished / "resources/corpora/keywords/corpus.csv")
    rows = []
    for number, row in enumerate(source.groupby("split").head(48).itertuples()):
        audio, rate = soundfile.read(finished / "resources/corpora/keywords" / row.path)
        name = f"{number}.flac" if number % 2 else f"{number}.wav"
        if number % 3 == 0:
            audio, rate = np.stack([audio, audio], axis=1), 44100
        soundfile.write(folder / name, audio, rate)
        odd = "surprise" if row.split == "test" else row.label
        labels = {"spoken": row.label, "loud": number % 2, "odd": odd}
        rows.append({"path": name, "split": row.split, **labels})
    (folder / "0.wav").write_bytes(b"")
    (folder / "1.flac").write_text("not audio at all")
    whole = (folder / "2.wav").read_bytes()
    (folder / "2.wav").write_bytes(whole[: len(whole) // 2])
    pd.DataFrame(rows).to_csv(folder / "table.csv", index=False)
    return folder


@pytest.fixture
def recordings(finished, tmp_path):
    return record(finished, tmp_path / "mine")


def own_setup(recordings, tasks=None, **changes):
    """configs/ci.yaml on these recordings: task ``words``, and others."""
    values = yaml.safe_load((REPOSITORY / "configs/ci.yaml").read_text())
    table = {"kind": "csv", "table": str(recordings / "table.csv"), "speeds": [0.9]}
    values["corpora"] = {"mine": table}
    values["encoders"]["mfcc"]["sample_corpora"] = ["mine"]
    values["lm"]["tiny"]["corpora"] = ["mine"]
    words = values["tasks"]["ks"] | {"corpus": "mine", "labels": ["spoken"]}
    values["tasks"] = {"words": words} | (tasks or {})
    path = recordings.parent / "mine.yaml"
    path.write_text(yaml.safe_dump(values | {"seeds": [1], "shards": 1} | changes))
    return path


@pytest.fixture(scope="module")
def own_run(finished, tmp_path_factory):
    """A run on a user's folder: one task on a label column, and one of four lines on two."""
    folder = tmp_path_factory.mktemp("own")
    tasks = yaml.safe_load("""
      both:
        corpus: mine
        lm: tiny
        labels: [spoken, loud]
      odd:
        corpus: mine
        lm: tiny
        labels: [odd]
    """)
    setup = own_setup(record(finished, folder / "mine"), max_rejected=0.05, tasks=tasks)
    snakemake(
        folder, "--cores", "2", "results/words/acc.txt", "results/both/acc.txt", configfile=setup
    )
    return folder


def test_a_recording_replaced_in_place_is_prepared_again(finished, tmp_path):
    mine = record(finished, tmp_path / "mine")
    setup = own_setup(mine, max_rejected=0.05)
    target = "results/manifests/mine/test.parquet"
    snakemake(tmp_path, "--cores", "1", target, configfile=setup)
    assert planned(tmp_path, target, configfile=setup) == set()
    table = pd.read_csv(mine / "table.csv")
    recording = mine / table["path"].iloc[-1]
    soundfile.write(recording, np.zeros(9000), 16_000, format="WAV")
    assert planned(tmp_path, target, configfile=setup) == {"prepare_corpus"}


def test_a_table_replaced_by_an_older_one_is_prepared_again(finished, tmp_path):
    mine = record(finished, tmp_path / "mine")
    setup = own_setup(mine, max_rejected=0.05)
    target = "results/manifests/mine/test.parquet"
    snakemake(tmp_path, "--cores", "1", target, configfile=setup)
    table = mine / "table.csv"
    pd.read_csv(table).iloc[:-1].to_csv(table, index=False)
    os.utime(table, (10**9, 10**9))  # as `cp -p` and `rsync -a` leave it
    assert planned(tmp_path, target, configfile=setup) == {"prepare_corpus"}


@pytest.mark.parametrize(
    ("replaced", "rules"),
    [
        ("train.txt", {"prepare_units", "gather_units"}),
        ("dict.txt", {"prepare_units", "gather_units"}),
        ("encoder.safetensors", {"take_codebook", "take_unit_lm"}),
        ("book.safetensors", {"take_codebook", "take_unit_lm"}),
        ("lm.safetensors", {"take_unit_lm"}),
    ],
)
def test_own_models_and_units_count_when_an_older_file_replaces_them(
    files_of_models, replaced, rules
):
    folder, targets = files_of_models
    path, setup = folder / replaced, folder / "setup.yaml"
    assert planned(folder, *targets, configfile=setup) == set()
    before = path.stat()
    os.utime(path, (10**9, 10**9))
    try:
        assert planned(folder, *targets, configfile=setup) == rules
    finally:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.fixture(scope="module")
def files_of_models(tmp_path_factory):
    """A finished run on units and models of the user's own, and its targets."""
    folder = tmp_path_factory.mktemp("files")
    (folder / "dict.txt").write_text("".join(f"{unit} 1\n" for unit in range(100)))
    for split in ("train", "valid"):
        lines = (f"{unit} 5 7 <s> {'even' if unit % 2 == 0 else 'odd'}\n" for unit in range(60))
        (folder / f"{split}.txt").write_text("".join(lines))
    for name, shipped in MODELS.items():
        (folder / name).write_bytes(shipped_model(shipped).read_bytes())
    (folder / "setup.yaml").write_text(SETUP_OF_MODELS)
    targets = (
        "results/codebooks/mine.safetensors",
        "results/lm/mine/model.safetensors",
        "results/units/ready/units/train/index.json",
    )
    snakemake(folder, "--cores", "2", *targets, configfile=folder / "setup.yaml")
    return folder, targets


def test_own_recordings_with_bad_files_among_them(own_run):
    rejects = pd.read_parquet(own_run / "results/manifests/mine/rejects.parquet")
    assert set(rejects["path"]) == {"0.wav", "1.flac", "2.wav"}
    assert rejects["reason"].str.len().min() > 5
    assert 0 <= float((own_run / "results/words/acc.txt").read_text()) <= 100


STARTED = """
encoders:
  nano: {kind: hubert, weights: hubert-nano.safetensors, layer: 4}
codebooks:
  nano100: {encoder: nano, weights: hubert-nano-100.safetensors}
lm:
  nano: {codebook: nano100, weights: unit-lm-nano.safetensors}
tasks:
  words:
    corpus: mine
    lm: nano
    labels: [spoken]
    verbalizer: learnable
    prompt: {start: words-nano.safetensors}
    training: {max_epochs: 0}
"""


def test_a_prompt_starts_from_the_one_that_ships(recordings):
    setup = own_setup(recordings, max_rejected=0.05, **yaml.safe_load(STARTED))
    folder, target = recordings.parent, "results/words/acc.txt"
    snakemake(folder, "--cores", "2", target, configfile=setup)
    # Twelve classes, 48 recordings of new voices, of which 45 can be read.
    assert float((folder / target).read_text()) > 60
    values = yaml.safe_load(setup.read_text())
    start = recordings / "start.safetensors"
    start.write_bytes(shipped_model("words-nano.safetensors").read_bytes())
    values["tasks"]["words"]["prompt"]["start"] = str(start)
    setup.write_text(yaml.safe_dump(values))
    assert "train_prompt" in planned(folder, target, configfile=setup)
    snakemake(folder, "--cores", "2", target, configfile=setup)
    assert planned(folder, target, configfile=setup) == set()
    os.utime(start, (10**9, 10**9))  # an older one takes its place
    assert "train_prompt" in planned(folder, target, configfile=setup)
    start.unlink()
    done = snakemake(folder, "--cores", "2", target, configfile=setup, check=False)
    assert "tasks.words.prompt.start: no such file" in done.stderr


def test_two_label_columns_are_four_lines_of_configuration(own_run):
    scores = json.loads((own_run / "results/both/metrics.json").read_text())["splits"]["test"]
    columns = ("", "_spoken", "_loud")
    assert set(scores) == {f"{m}{c}" for m in ("acc", "macro_f1") for c in columns} | {"invalid"}
    assert scores["acc"]["value"] <= min(scores["acc_spoken"]["value"], scores["acc_loud"]["value"])
    answers = pd.read_parquet(own_run / "results/both/predictions.parquet")
    assert answers["prediction"].str.contains(" | ", regex=False).all()


def test_too_many_bad_files_stop_the_run(recordings, tmp_path):
    setup = own_setup(recordings)
    done = snakemake(tmp_path, "--cores", "2", "all", configfile=setup, check=False)
    assert done.returncode
    log = (tmp_path / "logs/prepare_corpus/mine.log").read_text()
    assert "0.wav" in log
    assert not list(tmp_path.glob("results/manifests/mine/*.parquet"))


def test_a_label_that_train_never_had_is_named(own_run):
    wanted, setup = "results/odd/baseline/ngram/metrics.json", own_run / "mine.yaml"
    done = snakemake(own_run, "--cores", "2", wanted, configfile=setup, check=False)
    assert done.returncode
    assert "'surprise'" in (own_run / "logs/fit_ngram_baseline/odd.log").read_text()


def test_new_audio_is_answered_as_the_test_split_was_at_all_speeds(own_run):
    manifest = pd.read_parquet(own_run / "results/manifests/mine/test.parquet")
    files = [own_run / "mine" / path for path in manifest["path"]]
    units = pd.read_parquet(sorted((own_run / "results/units/mfcc50/mine/test").glob("part*"))[0])
    assert units["renditions"].str.len().eq(1).all()
    scored = pd.read_parquet(own_run / "results/words/predictions.parquet")
    found = load_predictor(own_run / "results/words").predict(files)
    assert [answer.answer for answer in found] == scored["prediction"].tolist()
    assert [answer.score for answer in found] == pytest.approx(scored["score"].tolist(), abs=1e-4)
    assert read_json(own_run / "results/words/model.json")["speeds"] == [0.9]
