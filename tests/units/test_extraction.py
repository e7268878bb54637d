import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import torch

from speechprompt.audio.speed import play_at
from speechprompt.encoders import load_encoder
from speechprompt.encoders.base import Encoder
from speechprompt.errors import ArtefactError, ConfigError, CorpusError
from speechprompt.units import extraction as features
from speechprompt.units.extraction import extract_features, sample_frames, shard_rows
from speechprompt.units.feature_files import (
    FeatureMetadata,
    iter_features,
    read_feature_metadata,
    read_speeds,
)


class CountingEncoder(Encoder):
    """Frames that say which utterance and position they come from."""

    kind, dimension, frame_rate, layer, sha256 = "counting", 2, 50.0, None, "0" * 64

    def encode(self, waveforms):
        return [
            torch.stack([torch.full((len(w) // 320,), w[0].item()), torch.arange(len(w) // 320)], 1)
            for w in waveforms
        ]


class BatchEncoder(CountingEncoder):
    prefers_batches = True

    def __init__(self):
        self.sizes = []

    def encode(self, waveforms):
        self.sizes.append(len(waveforms))
        return super().encode(waveforms)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Ten recordings of different lengths and their manifest."""
    root = tmp_path_factory.mktemp("corpus")
    generator = np.random.default_rng(0)
    lengths = generator.integers(1_600, 24_000, size=10)
    for index, length in enumerate(lengths):
        waveform = generator.normal(0, 0.05, length).astype(np.float32)
        waveform[0] = index / 16
        soundfile.write(root / f"{index}.wav", waveform, 16_000, subtype="FLOAT")
    table = pa.table(
        {
            "utt_id": [f"u{index}" for index in range(10)],
            "path": [f"{index}.wav" for index in range(10)],
            "n_samples": lengths,
            "sample_rate": np.full(10, 16_000, dtype=np.int32),
            "speaker": ["a", None] * 5,
            "word": ["yes", "no"] * 5,
        }
    )
    pq.write_table(table.replace_schema_metadata({"root": "."}), root / "manifest.parquet")
    return root, root / "manifest.parquet"


def extract(corpus, out, encoder=None, **settings):
    _, manifest = corpus
    extract_features(manifest, encoder or load_encoder("mfcc"), out, **settings)
    return list(iter_features(out))


def test_a_file_has_the_manifests_utterances_in_its_order(corpus, tmp_path):
    rows = extract(corpus, tmp_path / "features.parquet")
    assert [utt_id for utt_id, _ in rows] == [f"u{index}" for index in range(10)]
    table = pq.read_table(tmp_path / "features.parquet")
    assert table.schema.field("frames").type == pa.list_(pa.list_(pa.float16(), 39))
    assert table["n_frames"].to_pylist() == [len(frames) for _, frames in rows]


def test_frames_are_the_encoders(corpus, tmp_path):
    rows = extract(corpus, tmp_path / "features.parquet")
    encoder = load_encoder("mfcc")
    for index, (_, frames) in enumerate(rows):
        waveform = soundfile.read(corpus[0] / f"{index}.wav", dtype="float32")[0]
        (expected,) = encoder.encode([torch.from_numpy(waveform)])
        np.testing.assert_array_equal(frames, expected.half().numpy())


def test_metadata_name_the_encoder(corpus, tmp_path):
    extract(corpus, tmp_path / "features.parquet")
    expected = FeatureMetadata("mfcc", load_encoder("mfcc").sha256, None, 50.0, 39)
    assert read_feature_metadata(tmp_path / "features.parquet") == expected


@pytest.mark.parametrize("n_shards", [1, 3, 10, 13])
def test_shards_hold_every_utterance_once(corpus, tmp_path, n_shards):
    whole = extract(corpus, tmp_path / "whole.parquet")
    parts = [
        extract(corpus, tmp_path / f"{shard}.parquet", shard=shard, n_shards=n_shards)
        for shard in range(n_shards)
    ]
    together = [row for part in parts for row in part]
    assert [utt_id for utt_id, _ in together] == [utt_id for utt_id, _ in whole]
    for (_, one), (_, other) in zip(together, whole, strict=True):
        np.testing.assert_array_equal(one, other)


def test_shard_rows_cover_all_rows_once():
    rows = [row for shard in range(7) for row in shard_rows(100, shard, 7)]
    assert rows == list(range(100))
    with pytest.raises(ConfigError, match="0 to 6, found 7"):
        shard_rows(100, 7, 7)


def test_windows_bound_the_memory_and_change_nothing(corpus, tmp_path, monkeypatch):
    whole = extract(corpus, tmp_path / "whole.parquet", CountingEncoder())
    monkeypatch.setattr(features, "WINDOW_SECONDS", 2.0)
    windows = extract(corpus, tmp_path / "windows.parquet", CountingEncoder())
    assert pq.ParquetFile(tmp_path / "windows.parquet").num_row_groups > 2
    for (utt_id, one), (other_id, other) in zip(whole, windows, strict=True):
        assert utt_id == other_id
        np.testing.assert_array_equal(one, other)


def test_batches_keep_the_order(corpus, tmp_path):
    encoder = BatchEncoder()
    encoder.batch_seconds = 4.0
    batched = extract(corpus, tmp_path / "batched.parquet", encoder)
    assert max(encoder.sizes) > 1
    for index, (_, frames) in enumerate(batched):
        assert (frames[:, 0] == index / 16).all()


def test_the_same_input_gives_the_same_bytes(corpus, tmp_path):
    for name in ("one", "two"):
        extract(corpus, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_audio_that_went_bad_is_named_and_nothing_is_left(tmp_path):
    soundfile.write(tmp_path / "good.wav", np.full(1_600, 0.1, dtype=np.float32), 16_000)
    (tmp_path / "bad.wav").write_bytes(b"RIFF, once")
    table = pa.table({"utt_id": ["g", "b"], "path": ["good.wav", "bad.wav"]})
    pq.write_table(table.replace_schema_metadata({"root": "."}), tmp_path / "manifest.parquet")
    out = tmp_path / "out" / "features.parquet"
    with pytest.raises(CorpusError, match=r"bad\.wav.*prepare the corpus again"):
        extract((tmp_path, tmp_path / "manifest.parquet"), out)
    assert list(out.parent.iterdir()) == []


def test_bad_manifests(tmp_path):
    manifest = tmp_path / "manifest.parquet"
    pq.write_table(pa.table({"utt_id": pa.array([], pa.string()), "path": []}), manifest)
    with pytest.raises(CorpusError, match="expected utterances, found none"):
        extract((tmp_path, manifest), tmp_path / "out")
    pq.write_table(pa.table({"utt_id": ["a"]}), manifest)
    with pytest.raises(ArtefactError, match="'path'"):
        extract((tmp_path, manifest), tmp_path / "out")
    manifest.write_text("path,split")
    with pytest.raises(ArtefactError, match=r"manifest\.parquet: not a readable Parquet"):
        extract((tmp_path, manifest), tmp_path / "out")


def test_frames_beyond_16_bits_are_refused(corpus, tmp_path):
    class Loud(CountingEncoder):
        def encode(self, waveforms):
            return [torch.full((3, 2), 1e5 if w[0] == 0.25 else 1.0) for w in waveforms]

    with pytest.raises(ArtefactError, match="'u4' are not finite"):
        extract(corpus, tmp_path / "out.parquet", Loud())


def cut(corpus, folder, n_shards):
    parts = [folder / f"{shard}-of-{n_shards}.parquet" for shard in range(n_shards)]
    for shard, part in enumerate(parts):
        extract(corpus, part, CountingEncoder(), shard=shard, n_shards=n_shards)
    return parts


def read_sample(path):
    return np.stack(pq.read_table(path)["frames"].to_numpy())


def test_a_sample_is_drawn_without_replacement_in_order(corpus, tmp_path):
    parts = cut(corpus, tmp_path, 2)
    everything = np.concatenate([frames for part in parts for _, frames in iter_features(part)])
    assert sample_frames(parts, tmp_path / "sample", n_frames=100, seed=1) == 100
    sample = read_sample(tmp_path / "sample")
    positions = [np.flatnonzero((everything == frame).all(axis=1)).item() for frame in sample]
    assert positions == sorted(set(positions))
    assert read_feature_metadata(tmp_path / "sample") == read_feature_metadata(parts[0])


def test_a_sample_does_not_depend_on_the_parts(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(features, "SAMPLE_ROWS", 32)
    for n_shards in (1, 3, 12):
        parts = cut(corpus, tmp_path, n_shards)
        sample_frames(parts, tmp_path / f"sample-{n_shards}", n_frames=150, seed=1)
    assert pq.ParquetFile(tmp_path / "sample-1").num_row_groups == 5
    content = {(tmp_path / f"sample-{n_shards}").read_bytes() for n_shards in (1, 3, 12)}
    assert len(content) == 1


def test_a_sample_depends_on_the_seed(corpus, tmp_path):
    parts = cut(corpus, tmp_path, 1)
    for seed in (1, 2):
        sample_frames(parts, tmp_path / f"sample-{seed}", n_frames=50, seed=seed)
    one, two = (read_sample(tmp_path / f"sample-{seed}") for seed in (1, 2))
    assert not np.array_equal(one, two)


def test_every_frame_is_equally_likely(corpus, tmp_path):
    parts = cut(corpus, tmp_path, 3)
    positions = [frames[:, 1] for part in parts for _, frames in iter_features(part)]
    share = np.mean(np.concatenate(positions) < 10)
    drawn = []
    for seed in range(60):
        sample_frames(parts, tmp_path / "sample", n_frames=20, seed=seed)
        drawn += list(read_sample(tmp_path / "sample")[:, 1] < 10)
    assert abs(np.mean(drawn) - share) < 0.05


def test_too_few_frames_are_all_taken(corpus, tmp_path):
    parts = cut(corpus, tmp_path, 2)
    total = sum(len(frames) for part in parts for _, frames in iter_features(part))
    assert sample_frames(parts, tmp_path / "sample", n_frames=10**6, seed=1) == total


def test_parts_of_different_encoders_are_not_mixed(corpus, tmp_path):
    parts = cut(corpus, tmp_path, 1)
    extract(corpus, tmp_path / "mfcc.parquet")
    with pytest.raises(ArtefactError, match=r"mfcc\.parquet: expected features of the encoder"):
        sample_frames([*parts, tmp_path / "mfcc.parquet"], tmp_path / "sample", n_frames=5, seed=1)


def test_no_parts_and_foreign_parts(corpus, tmp_path):
    with pytest.raises(ArtefactError, match="found none"):
        sample_frames([], tmp_path / "sample", n_frames=5, seed=1)
    with pytest.raises(ArtefactError, match=r"manifest\.parquet: expected frames"):
        sample_frames([corpus[1]], tmp_path / "sample", n_frames=5, seed=1)
    (tmp_path / "broken").write_bytes(cut(corpus, tmp_path, 1)[0].read_bytes()[:-50])
    with pytest.raises(ArtefactError, match="broken: not a readable"):
        sample_frames([tmp_path / "broken"], tmp_path / "sample", n_frames=5, seed=1)


def test_renditions_are_rows_behind_their_utterance(corpus, tmp_path):
    root, manifest = corpus
    extract_features(manifest, load_encoder("mfcc"), tmp_path / "plain.parquet")
    speeds = [0.8, 1.25]
    n = extract_features(manifest, load_encoder("mfcc"), tmp_path / "three.parquet", speeds=speeds)
    assert n == 10
    assert read_speeds(tmp_path / "three.parquet") == speeds
    assert read_speeds(tmp_path / "plain.parquet") == []
    plain = list(iter_features(tmp_path / "plain.parquet"))
    rows = list(iter_features(tmp_path / "three.parquet"))
    assert [utt_id for utt_id, _ in rows] == [utt_id for utt_id, _ in plain for _ in range(3)]
    for i, (_, frames) in enumerate(plain):
        np.testing.assert_array_equal(rows[3 * i][1], frames)
        waveform = soundfile.read(root / f"{i}.wav", dtype="float32")[0]
        for (_, found), played in zip(rows[3 * i + 1 :], play_at(speeds, waveform), strict=False):
            (expected,) = load_encoder("mfcc").encode([torch.from_numpy(played)])
            np.testing.assert_array_equal(found, expected.half().numpy())


def test_impossible_speeds_are_refused(corpus, tmp_path):
    _, manifest = corpus
    with pytest.raises(ConfigError, match=r"speeds: expected speeds from 0\.5 to 2\.0"):
        extract_features(manifest, load_encoder("mfcc"), tmp_path / "x.parquet", speeds=[3.0])
    assert not list(tmp_path.iterdir())
