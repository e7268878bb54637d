"""Pre-training of an encoder: it learns, resumes to the same bytes, and refuses wrong input."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from interruption import killed_in_the_middle
from speechprompt.config.encoders import HubertPretraining
from speechprompt.corpora.manifest import manifest_schema
from speechprompt.encoders import load_encoder
from speechprompt.errors import ArtefactError, CorpusError, SpeechPromptError
from speechprompt.pretraining.batches import Draw, Loader, Utterance, play
from speechprompt.pretraining.hubert import pretrain_encoder
from speechprompt.storage.parquet import write_parquet
from speechprompt.storage.tensors import read_tensor_metadata
from speechprompt.training.job import Computation, TrainingFiles
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units

TONES = (300, 700, 1500, 3100)
SMALL = {
    "convolutions": [[8, 160, 40], [8, 3, 2], [8, 3, 4]],
    "dim": 32,
    "layers": 2,
    "heads": 2,
    "ffn": 48,
    "position_kernel": 8,
    "position_groups": 4,
    "mask_share": 0.4,
    "mask_length": 3,
    "lr": 5e-3,
    "warmup": 5,
    "batch_seconds": 8.0,
    "max_epochs": 3,
    "valid_share": 0.1,
    "precision": "fp32",
}
ONE_THREAD = {"computation": Computation(threads=1)}


def settings_of(**changes):
    return HubertPretraining(targets="k", corpora=["tones"], **SMALL | changes)


def train(targets, out, curve=None, start=None, **changes):
    files = TrainingFiles(out, curve)
    return pretrain_encoder(settings_of(**changes), targets, files, start=start, **ONE_THREAD)


@pytest.fixture(scope="module")
def tones(tmp_path_factory):
    """Units that say which tones of 0.2 s recordings have, and the manifest of these."""
    return write_tones(tmp_path_factory.mktemp("tones"))


def write_tones(root, split="train", frame_rate=50.0, codebook="k", n=40):
    rng = np.random.default_rng(1)
    rows = {"utt_id": [], "path": [], "units": [], "durations": [], "n_frames": []}
    for i in range(n):
        units = rng.permutation(len(TONES))[: rng.integers(2, 5)]
        time = np.arange(len(units) * 3200) / 16_000
        waveform = 0.3 * np.sin(2 * np.pi * np.repeat([TONES[u] for u in units], 3200) * time)
        waveform += 0.01 * rng.standard_normal(len(time))
        soundfile.write(root / f"{i}.wav", waveform, 16_000)
        n_frames = 1 + (len(time) - 400) // 320
        durations = [10] * (len(units) - 1) + [n_frames - 10 * (len(units) - 1)]
        values = (f"{i}", f"{i}.wav", units.tolist(), durations, n_frames)
        for column, value in zip(rows.values(), values, strict=True):
            column.append(value)
    folder = root / codebook / split
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "part-00000-of-00001.parquet"
    metadata = UnitsMetadata(codebook, codebook * 64, 4, True, "mfcc", None, frame_rate)
    write_units(path, rows, label_columns=[], metadata=metadata)
    gather_units([path], folder / "index.json", corpus="tones", split=split)
    write_parquet(root / "heard.parquet", pa.Table.from_pylist([], manifest_schema([], ".")))
    return folder / "index.json", root / "heard.parquet"


def test_it_learns_and_an_encoder_reads_it(tones, tmp_path):
    index, heard = tones
    out, curve = tmp_path / "model.safetensors", tmp_path / "curve.parquet"
    # A tone at another speed is another tone.
    train({index: heard}, out, curve, max_epochs=25, patience=25, augmentation=False)
    rows = [row for row in pq.read_table(curve).to_pylist() if row["split"] == "valid"]
    assert rows[-1]["accuracy"] > 0.6  # a constant answer has 0.25
    metadata = read_tensor_metadata(out)
    assert metadata["training"]["held_out_loss"] == min(row["loss"] for row in rows)
    assert metadata["targets"]["codebook"] == "k"
    waveform, _ = soundfile.read(heard.parent / "0.wav", dtype="float32")
    encoder = load_encoder("hubert", weights=out, layer=2)
    (frames,) = encoder.encode([torch.from_numpy(waveform)])
    assert frames.shape == (1 + (len(waveform) - 400) // 320, 32)


def test_a_killed_run_resumes_to_the_same_bytes(tones, tmp_path):
    index, heard = tones
    whole, resumed = tmp_path / "whole.safetensors", tmp_path / "resumed.safetensors"
    train({index: heard}, whole, dropout=0.1)
    checkpoint = tmp_path / "state.safetensors"
    files = TrainingFiles(resumed, None, checkpoint, 0)
    arguments = [settings_of(dropout=0.1), {index: heard}, files]
    killed_in_the_middle(pretrain_encoder, arguments, ONE_THREAD, checkpoint, writes=7)
    assert not resumed.exists()
    pretrain_encoder(*arguments, **ONE_THREAD)
    assert resumed.read_bytes() == whole.read_bytes()
    assert not checkpoint.exists()


def test_a_checkpoint_goes_with_the_recordings_that_are_heard(tmp_path, capsys):
    index, heard = write_tones(tmp_path)
    checkpoint = tmp_path / "state.safetensors"
    files = TrainingFiles(tmp_path / "model.safetensors", None, checkpoint, 0)
    arguments = [settings_of(max_epochs=1), {index: heard}, files]
    killed_in_the_middle(pretrain_encoder, arguments, ONE_THREAD, checkpoint, writes=2)
    write_parquet(heard, pa.Table.from_pylist([], manifest_schema(["text"], ".")))
    pretrain_encoder(*arguments, **ONE_THREAD)
    assert "checkpoint of another training ignored" in capsys.readouterr().err


def test_an_iteration_goes_on_from_the_one_before(tones, tmp_path):
    index, heard = tones
    first, second = tmp_path / "first.safetensors", tmp_path / "second.safetensors"
    train({index: heard}, first)
    # With a learning rate of almost nothing it stays what it was.
    train({index: heard}, second, start=first, lr=1e-12, max_epochs=1)
    waveform = np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    frames = [
        load_encoder("hubert", weights=path, layer=2).encode([torch.from_numpy(waveform)])[0]
        for path in (first, second)
    ]
    torch.testing.assert_close(*frames, atol=1e-4, rtol=1e-4)
    with pytest.raises(ArtefactError, match="another shape"):
        train({index: heard}, second, start=first, ffn=64)


def test_wrong_units_are_refused(tmp_path):
    out = tmp_path / "model.safetensors"
    with pytest.raises(ArtefactError, match="train splits, found 'test'"):
        train(dict([write_tones(tmp_path, split="test")]), out)
    with pytest.raises(ArtefactError, match=r"expected 50.0 frames/s, found 100.0"):
        train(dict([write_tones(tmp_path, frame_rate=100.0)]), out)
    mixed = [write_tones(tmp_path), write_tones(tmp_path, codebook="j")]
    with pytest.raises(ArtefactError, match="codebook is 'j', expected 'k'"):
        train(dict(mixed), out)
    with pytest.raises(CorpusError, match="leave 0 to learn from"):
        train(dict(mixed[:1]), out, mask_length=100)
    assert not out.exists()


def test_targets_follow_the_speed():
    targets = np.repeat(np.arange(10), 10)[None]  # 2 s
    played = play(targets, round((400 + 99 * 320) / 1.25), 1.25)
    assert played.shape == (1, 79)
    assert np.abs(np.flatnonzero(np.diff(played[0])) - np.arange(1, 10) * 8).max() <= 1
    assert np.array_equal(play(targets, 400 + 99 * 320, 1.0), targets)


def test_processes_read_the_same_batches_in_order(tones):
    index, heard = tones
    rows = pq.read_table(index.with_name("part-00000-of-00001.parquet")).to_pylist()
    targets = [np.repeat(np.array(row["units"], np.int16), row["durations"]) for row in rows]
    utterances = [Utterance(heard.parent / f"{n}.wav", units) for n, units in enumerate(targets)]
    utterances.append(Utterance(heard.parent / "missing.wav", np.zeros(50, np.int16)))
    loader = Loader(utterances, settings_of(hard_augmentation=True))
    with loader.ahead(0) as here, loader.ahead(2) as elsewhere:
        for epoch in range(2):
            draws = [Draw([3 * n, 3 * n + 1, 3 * n + 2], (1, epoch, n)) for n in range(5)]
            for batch, other in zip(here(draws), elsewhere(draws), strict=True):
                assert all(map(torch.equal, batch, other))
        for read in (here, elsewhere):
            with pytest.raises(SpeechPromptError, match=r"missing.wav"):
                list(read([Draw([0], (1,)), Draw([len(rows)], (1,))]))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU that torch can use")
def test_on_a_gpu_it_learns_like_on_the_processor(tones, tmp_path):
    index, heard = tones
    curves = []
    for name, device in (("cpu", "cpu"), ("first", "cuda"), ("again", "cuda")):
        curve = tmp_path / f"{name}.parquet"
        files = TrainingFiles(tmp_path / f"{name}.safetensors", curve)
        computation = Computation(device, threads=3)
        pretrain_encoder(settings_of(max_epochs=2), {index: heard}, files, computation=computation)
        curves.append(pq.read_table(curve)["loss"].to_numpy())
    np.testing.assert_allclose(curves[1], curves[0], rtol=2e-3)
    bytes_of = [(tmp_path / f"{name}.safetensors").read_bytes() for name in ("first", "again")]
    assert bytes_of[0] == bytes_of[1]
