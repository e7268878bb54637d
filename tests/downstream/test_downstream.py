"""Training on audio: it learns, leaves the encoder alone, resumes after a kill."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from interruption import killed_in_the_middle
from speechprompt.config.encoders import HubertPretraining
from speechprompt.config.tasks import DownstreamSettings
from speechprompt.downstream import recordings as module
from speechprompt.downstream.decoding import decode
from speechprompt.downstream.model import load_downstream
from speechprompt.downstream.recordings import (
    DownstreamData,
    FrameSource,
    read_labelled_recordings,
)
from speechprompt.downstream.training import length_batches, train_downstream
from speechprompt.encoders import load_encoder
from speechprompt.encoders.hubert import HUBERT
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.models.shipped import shipped_model
from speechprompt.pretraining.model import build_hubert, model_config
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensors, write_tensors
from speechprompt.tasks.labels import restore_labels
from speechprompt.training.job import Computation, TrainingFiles

# Without normalising over the utterance, after which every mean over time is 0.
MFCC = {"kind": "mfcc", "cmvn": False}
NANO = {"kind": "hubert", "weights": str(shipped_model("hubert-nano.safetensors")), "layer": 4}
PITCHES = {"A": 300, "B": 700, "C": 1500}
CLASSIFY = {"hidden": 16, "lr": 0.02, "batch_size": 8, "max_epochs": 10}
TONES = ("classification", ["tones", "low"])
TRANSCRIBE = CLASSIFY | {"answers": ("transcription", ["text"])}
TRANSCRIBE |= {"layers": 1, "dropout": 0.0, "max_epochs": 25}
ONE_THREAD = Computation(threads=1)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Two or three tones after each other; which ones is written down."""
    root = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(0)
    for split, n in (("train", 64), ("valid", 24), ("test", 17)):
        rows = []
        for number in range(n):
            text = "".join(generator.permutation(list("ABC"))[: 2 + number % 2])
            waves = [tone(PITCHES[c], generator) for c in text]
            soundfile.write(root / f"{split}-{number}.wav", np.concatenate(waves), 16_000)
            rows.append(
                {
                    "utt_id": f"{split}-{number}",
                    "path": f"{split}-{number}.wav",
                    "n_samples": sum(map(len, waves)),
                    "sample_rate": 16_000,
                    "tones": "".join(sorted(text)),
                    "low": "yes" if "A" in text else "no",
                    "text": text,
                    "long": text * 30,
                }
            )
        table = pa.Table.from_pylist(rows).replace_schema_metadata({"root": "."})
        pq.write_table(table, root / f"{split}.parquet")
    return root


def tone(pitch, generator):
    time = np.arange(int(generator.integers(1600, 3200))) / 16_000
    wave = 0.3 * np.sin(2 * np.pi * pitch * generator.uniform(0.95, 1.05) * time)
    wave += generator.normal(0, 0.01, len(time))
    return np.concatenate([wave, np.zeros(400)]).astype(np.float32)


@pytest.fixture(scope="module")
def hubert(tmp_path_factory):
    path = tmp_path_factory.mktemp("hubert") / "model.safetensors"
    torch.manual_seed(0)
    shape = {"dim": 16, "layers": 2, "heads": 2, "ffn": 16}
    settings = HubertPretraining(
        targets="k",
        corpora=["c"],
        convolutions=[[16, 160, 40], [16, 3, 2], [16, 3, 4]],
        position_kernel=4,
        position_groups=2,
        mask_length=2,
        **shape,
    )
    HUBERT.write(path, build_hubert(settings, n_targets=5).wav2vec2, model_config(settings))
    return {"kind": "hubert", "weights": str(path), "layer": 1}


def arguments_of(corpus, encoder, files, answers=TONES, balance=False, train="train", **options):
    manifests = (corpus / f"{train}.parquet", corpus / "valid.parquet")
    data = DownstreamData.read(*manifests, *answers, balance)
    return DownstreamSettings(**CLASSIFY | options), data, encoder, files


def run(corpus, folder, encoder=MFCC, name="model", seed=1, **options):
    path = folder / f"{name}.safetensors"
    files = TrainingFiles(path, folder / f"{name}.parquet")
    arguments = arguments_of(corpus, encoder, files, **options)
    return train_downstream(*arguments, computation=ONE_THREAD, seed=seed), path


def score(corpus, path, encoder=MFCC, batch_size=32):
    source = FrameSource(encoder, "cpu")
    model, metadata = load_downstream(path, source.encoder)
    labels = restore_labels(metadata["answers"])
    test = read_labelled_recordings(corpus / "test.parquet", labels, encode=False)
    answers = decode(model, source, test, batch_size=batch_size)
    guesses = [labels.decode(row) for row in answers.labels]
    right = np.mean([a == b for a, b in zip(guesses, test.references, strict=True)])
    return right, guesses, answers


@pytest.mark.parametrize(
    ("settings", "least"),
    [
        ({}, 0.9),
        ({"balance": True}, 0.9),
        (TRANSCRIBE, 0.8),
        ({"encoder": "nano", "normalize": True}, 0.9),
    ],
)
def test_it_learns(corpus, tmp_path, settings, least):
    encoder = NANO if "encoder" in settings else MFCC
    result, path = run(corpus, tmp_path, **{**settings, "encoder": encoder})
    assert score(corpus, path, encoder)[0] >= least  # by chance a half have ABC
    rows = pq.read_table(tmp_path / "model.parquet").to_pylist()
    assert list(rows[0]) == ["epoch", "split", "loss", "accuracy", "lr"]
    best = min((row for row in rows if row["split"] == "valid"), key=lambda row: row["loss"])
    assert (best["epoch"], best["loss"]) == (result.best_epoch, result.valid_loss)


def test_exactly_the_head_is_trained_and_saved(corpus, hubert, tmp_path, monkeypatch):
    before = sha256_file(hubert["weights"])
    loaded = []
    original = module.load_encoder
    monkeypatch.setattr(
        module, "load_encoder", lambda *a, **k: loaded.append(original(*a, **k)) or loaded[-1]
    )
    result, path = run(corpus, tmp_path, hubert, max_epochs=1)
    tensors, metadata = read_tensors(path)
    head = {"project.weight", "project.bias", "classify.weight", "classify.bias"}
    assert tensors.keys() == {f"head.{name}" for name in head} | {"layer_sum.scores"}
    assert result.trainable_parameters == metadata["trainable_parameters"]
    assert result.trainable_parameters == 3 + 17 * 16 + 17 * (4 + 2)
    assert tensors["layer_sum.scores"].shape == (3,)  # below the layers and after both of them
    assert (tensors["layer_sum.scores"] != 0).all()
    assert sum(metadata["layer_weights"]) == pytest.approx(1, abs=1e-5)
    assert sha256_file(hubert["weights"]) == before
    wave = [torch.randn(4000, generator=torch.Generator().manual_seed(0))]
    (used,), (fresh,) = (
        encoder.encode_states(wave)
        for encoder in (loaded[0], load_encoder(**hubert, every_layer=True))
    )
    assert torch.equal(used, fresh)


def test_a_single_layer_needs_no_weight(corpus, tmp_path):
    _, path = run(corpus, tmp_path, **TRANSCRIBE | {"max_epochs": 1})
    tensors, metadata = read_tensors(path)
    lstm = {f"{part}_{way}_l0" for part in ("weight", "bias") for way in ("ih", "hh")}
    assert tensors.keys() == {
        *(f"head.{name}.{kind}" for name in ("project", "classify") for kind in ("weight", "bias")),
        *(f"head.{name}_lstms.0.{w}" for name in ("forward", "backward") for w in lstm),
    }
    assert metadata["layer_weights"] == [1.0]
    assert (metadata["method"], metadata["encoder"]) == ("downstream", "mfcc")


def test_answers_do_not_depend_on_the_batch(corpus, hubert, tmp_path):
    _, path = run(corpus, tmp_path, hubert, **TRANSCRIBE | {"max_epochs": 3})
    _, together, first = score(corpus, path, hubert)
    _, alone, second = score(corpus, path, hubert, batch_size=1)
    assert together == alone
    assert first.scores == pytest.approx(second.scores, abs=1e-4)
    assert len({bytes(digest) for digest in first.audio}) == 17


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(corpus, tmp_path):
    settings = TRANSCRIBE | {"max_epochs": 2, "dropout": 0.2, "layers": 2}
    first, again, other = (
        run(corpus, tmp_path, name=name, seed=seed, **settings)[1].read_bytes()
        for name, seed in (("first", 1), ("again", 1), ("other", 2))
    )
    assert first == again != other


def test_a_killed_run_resumes_to_the_same_bytes(corpus, tmp_path):
    options = TRANSCRIBE | {"max_epochs": 3, "dropout": 0.2, "layers": 2}
    _, whole = run(corpus, tmp_path, name="whole", **options)
    resumed, checkpoint = tmp_path / "resumed.safetensors", tmp_path / "checkpoint.safetensors"
    files = TrainingFiles(resumed, None, checkpoint, 0)
    arguments = arguments_of(corpus, MFCC, files, **options)
    computation = {"computation": ONE_THREAD}
    # In the second epoch of eight updates.
    killed_in_the_middle(train_downstream, arguments, computation, checkpoint, writes=12)
    assert not resumed.exists()
    train_downstream(*arguments, **computation)
    assert resumed.read_bytes() == whole.read_bytes()
    assert not checkpoint.exists()


def test_another_encoder_is_refused(corpus, tmp_path):
    _, path = run(corpus, tmp_path, max_epochs=1)
    with pytest.raises(ArtefactError, match=r"model\.safetensors.*mfcc.*train"):
        load_downstream(path, load_encoder("mfcc"))


def test_damaged_files_are_refused(corpus, tmp_path):
    _, path = run(corpus, tmp_path, max_epochs=1)
    tensors, metadata = read_tensors(path)
    encoder = load_encoder(**MFCC)
    tensors.pop("head.classify.bias")
    write_tensors(path, tensors, metadata)
    with pytest.raises(ArtefactError, match=r"head\.classify\.bias"):
        load_downstream(path, encoder)
    write_tensors(path, tensors, {})
    with pytest.raises(ArtefactError, match="not a downstream model"):
        load_downstream(path, encoder)


def test_answers_longer_than_the_audio_are_told(corpus, tmp_path, capsys):
    with pytest.raises(CorpusError, match=r"train: CTC needs a frame per label.*'train-0'"):
        run(corpus, tmp_path, **TRANSCRIBE | {"answers": ("transcription", ["long"])})
    table = pq.read_table(corpus / "train.parquet")
    rows = table.to_pylist()
    rows[5]["text"] = "AB" * 100
    pq.write_table(pa.Table.from_pylist(rows, table.schema), corpus / "odd.parquet")
    run(corpus, tmp_path, train="odd", **TRANSCRIBE | {"max_epochs": 1})
    assert "train: 1 of 64 utterances are too short" in capsys.readouterr().err


def test_what_is_missing_is_named(corpus, tmp_path):
    with pytest.raises(CorpusError, match=r"train\.parquet: no label column 'word'"):
        run(corpus, tmp_path, answers=("classification", ["word"]))
    table = pq.read_table(corpus / "train.parquet")
    rows = table.to_pylist()
    rows[3]["path"] = "nowhere.wav"
    pq.write_table(pa.Table.from_pylist(rows, table.schema), corpus / "gone.parquet")
    with pytest.raises(CorpusError, match=r"nowhere\.wav.*file not found"):
        run(corpus, tmp_path, train="gone")
    assert not list(tmp_path.glob("*.safetensors"))


def test_batches_for_ctc_are_of_similar_length_and_of_every_row_once():
    seconds = np.random.default_rng(0).uniform(1, 9, 500)
    order = np.random.default_rng(1).permutation(500)
    batches = length_batches(order, seconds, 16, np.random.default_rng(2))
    assert sorted(row for batch in batches for row in batch) == list(range(500))
    spread = [np.ptp(seconds[batch]) for batch in batches]
    assert np.median(spread) < 1
    assert [seconds[batch].mean() for batch in batches] != sorted(
        seconds[batch].mean() for batch in batches
    )
