"""One changed bit in any file of a run is an error that names the file, and `verify` finds it."""

import shutil

import numpy as np
import pytest
import torch

from every_stage import SPLIT, write_every_stage
from speechprompt.cli import main
from speechprompt.config.tasks import DecodingSettings
from speechprompt.errors import ArtefactError, SpeechPromptError
from speechprompt.evaluation.predictions import read_predictions
from speechprompt.evaluation.scores import Metrics, finish_task
from speechprompt.inspect.verification import verify_run
from speechprompt.lm import load_lm
from speechprompt.predict.task_folder import describe_model, open_task
from speechprompt.prompting.task_file import load_task_model
from speechprompt.storage.files import read_json, write_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.parquet import read_parquet
from speechprompt.storage.tensors import read_tensors, write_tensors
from speechprompt.training.checkpoint import Checkpoint
from speechprompt.units.codebook import fit_codebook, load_codebook
from speechprompt.units.extraction import sample_frames
from speechprompt.units.feature_files import iter_features
from speechprompt.units.quantization import quantize_units
from speechprompt.units.unit_files import gather_units, read_units

FEATURES = "results/features/mfcc/mine/train/part-0.parquet"
SAMPLE, BOOK = "results/features/mfcc/sample.parquet", "results/codebooks/book.safetensors"
MANIFEST = "results/manifests/mine/train.parquet"
PART = f"{SPLIT}/part-00000-of-00002.parquet"
LM, PROMPT = "results/lm/tiny/model.safetensors", "results/ks/prompt.safetensors"
# Each file, and what the next stage does with it.
READERS = {
    "manifest": (MANIFEST, lambda run, path: read_parquet(path)),
    "features for a sample": (
        FEATURES,
        lambda run, path: sample_frames([path], run / "out", n_frames=9, seed=1),
    ),
    "features for units": (
        FEATURES,
        lambda run, path: quantize_units(path, run / MANIFEST, run / BOOK, run / "out"),
    ),
    "features": (FEATURES, lambda run, path: list(iter_features(path))),
    "sample": (SAMPLE, lambda run, path: fit_codebook(path, run / "out", n_units=4, seed=1)),
    "codebook": (BOOK, lambda run, path: load_codebook(path)),
    "codebook for units": (
        BOOK,
        lambda run, path: quantize_units(run / FEATURES, run / MANIFEST, path, run / "out"),
    ),
    "units": (PART, lambda run, path: read_units(run / SPLIT / "index.json")),
    "units for an index": (
        PART,
        lambda run, path: gather_units([path], path.with_name("o"), corpus="mine", split="train"),
    ),
    "index": (f"{SPLIT}/index.json", lambda run, path: read_units(path)),
    "unit LM": (LM, lambda run, path: load_lm(path)),
    "prompt": (PROMPT, lambda run, path: load_task_model(path, run / LM)),
    "prompt of a finished task": (
        PROMPT,
        lambda run, path: finish_task(path, run / "prompt.safetensors"),
    ),
    "predictions": ("results/ks/predictions.parquet", lambda run, path: read_predictions(path)),
    "metrics": ("results/ks/metrics.json", lambda run, path: Metrics.read(path)),
    "model": ("results/ks/model.json", lambda run, path: open_task(run / "results/ks")),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return write_every_stage(tmp_path_factory.mktemp("run"))


def flipped(content, n_places, seed=0):
    """The content with single changed bits: both ends, and places drawn from all."""
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(content), n_places)
    for place in [*range(9), *drawn, *range(len(content) - 9, len(content))]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        yield bytes(changed)


@pytest.mark.parametrize("what", READERS)
def test_a_changed_bit_is_never_a_result(copied, what):
    name, read = READERS[what]
    path = copied / name
    content = path.read_bytes()
    read(copied, path)
    (copied / "out").unlink(missing_ok=True)
    for changed in flipped(content, 30):
        path.write_bytes(changed)
        with pytest.raises(SpeechPromptError, match=path.name):
            read(copied, path)
        assert not (copied / "out").exists()
    path.write_bytes(content)
    read(copied, path)


def test_a_changed_bit_of_a_checkpoint_starts_the_training_again(tmp_path, capsys):
    path = tmp_path / "checkpoint.safetensors"
    weight = torch.nn.Parameter(torch.arange(6.0))
    optimiser = torch.optim.Adam([weight])
    weight.sum().backward()
    optimiser.step()
    Checkpoint(path, "same", {"w": weight}, optimiser).save({"epoch": 3})
    content = path.read_bytes()
    for changed in flipped(content, 60):
        path.write_bytes(changed)
        fresh = torch.nn.Parameter(torch.zeros(6))
        resumed = Checkpoint(path, "same", {"w": fresh}, torch.optim.Adam([fresh]))
        assert resumed.load() is None
        assert not fresh.any()
        assert f"{path}: damaged checkpoint ignored" in capsys.readouterr().err
    path.write_bytes(content)
    assert Checkpoint(path, "same", {"w": weight}, optimiser).load() == {"epoch": 3}


@pytest.mark.parametrize("name", sorted({name for name, _ in READERS.values()}))
def test_verify_finds_the_damaged_file(copied, name, capsys):
    assert main(["verify", str(copied)]) == 0
    said = capsys.readouterr().out
    assert "damaged  " not in said
    assert f"ok       {copied / name}\n" in said
    path = copied / name
    path.write_bytes(next(flipped(path.read_bytes(), 0, seed=2)))
    assert main(["verify", str(copied)]) == 1
    assert f"damaged  {path}: " in capsys.readouterr().out
    found = {checked.path: checked.state for checked in verify_run(copied)}
    assert found[path] == "damaged"


def test_verify_looks_behind_links(copied, tmp_path, capsys):
    units, elsewhere = copied / "results/units", tmp_path / "scratch"
    shutil.move(units, elsewhere)
    units.symlink_to(elsewhere, target_is_directory=True)
    (elsewhere / "again").symlink_to(units, target_is_directory=True)
    assert main(["verify", str(copied)]) == 0
    assert str(units) in capsys.readouterr().out
    path = min(units.rglob("*.parquet"))
    path.write_bytes(next(flipped(path.read_bytes(), 0, seed=2)))
    (copied / "results/lost.safetensors").symlink_to("/no/such/file")
    assert main(["verify", str(copied)]) == 1
    said = capsys.readouterr().out
    assert f"damaged  {path}: " in said
    assert f"damaged  {copied / 'results/lost.safetensors'}: " in said


def test_verify_finds_files_that_are_missing_or_another(copied, capsys):
    (copied / "results/extra.json").write_text("{}")
    assert main(["verify", str(copied / "results")]) == 0
    assert f"no hash  {copied}/results/extra.json" in capsys.readouterr().out
    (copied / PART).unlink()
    tensors, metadata = read_tensors(copied / LM)
    write_tensors(copied / LM, tensors, metadata | {"more": 1})
    found = {checked.path: checked.reason for checked in verify_run(copied)}
    assert "that it names is missing" in found[copied / SPLIT / "index.json"]
    assert "model.safetensors has sha256" in found[copied / "results/ks/model.json"]
    assert main(["verify", str(copied / "nowhere")]) == 1
    assert "nowhere: expected the folder of a run" in capsys.readouterr().err


def test_verify_compares_downloads_with_their_sums(copied, capsys):
    download, corpus = copied / "resources/models/a.pt", copied / "resources/corpora/digits"
    for path in (download, corpus / "recordings/1.wav"):
        path.parent.mkdir(parents=True)
        path.write_bytes(b"right")
    download.with_name("a.pt.sha256").write_text(f"{sha256_file(download)}  a.pt\n")
    write_json(corpus / "corpus.json", {"kind": "fsdd", "sizes": {"recordings": {"1.wav": 5}}})
    assert main(["verify", str(copied)]) == 0
    assert f"ok       {download}\n" in capsys.readouterr().out
    download.write_bytes(b"wrong")
    (corpus / "recordings/1.wav").unlink()
    assert main(["verify", str(copied)]) == 1
    said = capsys.readouterr().out
    assert f"damaged  {download}: a.pt has sha256" in said
    assert "corpus.json: 1 of 1 files in recordings are missing" in said


def test_verify_looks_at_this_folder_by_default(copied, capsys, monkeypatch):
    monkeypatch.chdir(copied)
    assert main(["verify"]) == 0
    assert f"ok       {PROMPT}\n" in capsys.readouterr().out


def test_a_prompt_that_was_not_scored_is_not_passed_on(copied):
    """It is whole, but not the one that metrics.json tells of."""
    folder = copied / "results/ks"
    metrics = read_json(folder / "metrics.json")
    metrics["hashes"] = {"prompt": sha256_file(copied / PROMPT)}
    write_json(folder / "metrics.json", metrics)

    def describe():
        describe_model(
            copied / "out.json",
            task="ks",
            prompt=copied / PROMPT,
            unit_lm=copied / LM,
            decoding=DecodingSettings(),
        )

    finish_task(copied / PROMPT, copied / "out.safetensors")
    describe()
    whole = (copied / LM).read_bytes()
    for content in (b"", whole[:-1]):  # with or without a hash in it
        (copied / LM).write_bytes(content)
        with pytest.raises(ArtefactError, match=r"model\.safetensors"):
            describe()
    (copied / LM).write_bytes(whole)
    tensors, metadata = read_tensors(copied / PROMPT)
    write_tensors(copied / PROMPT, tensors, metadata | {"seed": 9})
    expected = r"prompt\.safetensors: expected sha256 \w+ as in .*metrics\.json, found"
    with pytest.raises(ArtefactError, match=expected):
        finish_task(copied / PROMPT, copied / "out.safetensors")
    with pytest.raises(ArtefactError, match=expected):
        describe()
