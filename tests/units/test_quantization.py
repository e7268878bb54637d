import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from speechprompt.encoders import load_encoder
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.examples import few_examples
from speechprompt.tasks.labels import read_examples
from speechprompt.units import quantization as quantize
from speechprompt.units.codebook import fit_codebook, load_codebook
from speechprompt.units.extraction import extract_features, sample_frames
from speechprompt.units.feature_files import iter_features
from speechprompt.units.quantization import deduplicate, quantize_units
from speechprompt.units.unit_files import gather_units, read_units

N_UTTERANCES = 12
WORDS = ("yes", "no", "up")


def test_deduplicate():
    units, durations = deduplicate(np.array([5, 5, 5, 0, 5, 2, 2], dtype=np.int16))
    assert units.tolist() == [5, 0, 5, 2]
    assert durations.tolist() == [3, 1, 1, 2]
    assert units.dtype == durations.dtype == np.int16


def test_deduplicate_nothing():
    units, durations = deduplicate(np.array([], dtype=np.int16))
    assert (units.tolist(), durations.tolist()) == ([], [])


def test_deduplicate_and_repeat_are_inverse():
    generator = np.random.default_rng(0)
    for _ in range(50):
        frames = generator.integers(3, size=generator.integers(1, 60)).astype(np.int16)
        units, durations = deduplicate(frames)
        assert (units[1:] != units[:-1]).all()
        np.testing.assert_array_equal(np.repeat(units, durations), frames)


def test_a_run_longer_than_int16_is_an_error():
    deduplicate(np.zeros(32_767, dtype=np.int16))
    with pytest.raises(CorpusError, match="at most 32767 frames, found 32768"):
        deduplicate(np.zeros(32_768, dtype=np.int16))


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    """A corpus of chirps, its manifest, one features file and a codebook of 16 units."""
    root = tmp_path_factory.mktemp("quantize")
    generator = np.random.default_rng(0)
    lengths = generator.integers(3_000, 20_000, size=N_UTTERANCES)
    for index, length in enumerate(lengths):
        time = np.arange(length) / 16_000
        tone = np.sin(2 * np.pi * (200 + 150 * index + 800 * time) * time)
        waveform = 0.3 * tone + generator.normal(0, 0.01, length)
        soundfile.write(root / f"{index}.wav", waveform, 16_000)
    manifest = root / "manifest.parquet"
    table = pa.table(
        {
            "utt_id": [f"u{index}" for index in range(N_UTTERANCES)],
            "path": [f"{index}.wav" for index in range(N_UTTERANCES)],
            "n_samples": lengths,
            "sample_rate": pa.array([16_000] * N_UTTERANCES, pa.int32()),
            "speaker": pa.array(["eve", None] * (N_UTTERANCES // 2), pa.string()),
            "word": ["yes", "no", "up"] * (N_UTTERANCES // 3),
        }
    )
    pq.write_table(table.replace_schema_metadata({"root": "."}), manifest)
    features = root / "features.parquet"
    extract_features(manifest, load_encoder("mfcc"), features)
    sample_frames([features], root / "sample.parquet", n_frames=400, seed=1)
    fit_codebook(root / "sample.parquet", root / "km16.safetensors", n_units=16, seed=1)
    return root, manifest, features, root / "km16.safetensors"


def run(stage, out, **settings):
    _, manifest, features, codebook = stage
    assert quantize_units(features, manifest, codebook, out, **settings) == N_UTTERANCES
    return pq.read_table(out)


def test_units_are_the_nearest_centroids_without_repeats(stage, tmp_path):
    table = run(stage, tmp_path / "part.parquet")
    codebook = load_codebook(stage[3])
    for row, (utt_id, frames) in zip(table.to_pylist(), iter_features(stage[2]), strict=True):
        assert row["utt_id"] == utt_id
        expected = codebook.assign(frames)
        assert row["n_frames"] == len(frames)
        assert np.repeat(row["units"], row["durations"]).tolist() == expected.tolist()
    assert len(set(table["units"].combine_chunks().flatten().to_pylist())) > 8


def test_durations_sum_to_the_frames(stage, tmp_path):
    for dedup in (True, False):
        table = run(stage, tmp_path / "part.parquet", dedup=dedup)
        sums = [sum(durations) for durations in table["durations"].to_pylist()]
        assert sums == table["n_frames"].to_pylist()


def test_without_dedup_there_is_a_unit_a_frame(stage, tmp_path):
    table = run(stage, tmp_path / "part.parquet", dedup=False)
    assert [len(units) for units in table["units"].to_pylist()] == table["n_frames"].to_pylist()
    assert table.schema.metadata[b"dedup"] == b"false"


def test_labels_and_speakers_are_the_manifests(stage, tmp_path):
    table = run(stage, tmp_path / "part.parquet")
    manifest = pq.read_table(stage[1])
    for column in ("utt_id", "path", "speaker", "word"):
        assert table[column].to_pylist() == manifest[column].to_pylist()
    assert "n_samples" not in table.column_names


def test_metadata_name_codebook_and_encoder(stage, tmp_path):
    metadata = run(stage, tmp_path / "part.parquet").schema.metadata
    codebook = load_codebook(stage[3])
    assert metadata == {
        b"codebook": b"km16",
        b"codebook_sha256": codebook.sha256.encode(),
        b"n_units": b"16",
        b"dedup": b"true",
        b"encoder": b"mfcc",
        b"frame_rate": b"50.0",
    }


def test_blocks_change_nothing(stage, tmp_path, monkeypatch):
    whole = run(stage, tmp_path / "whole.parquet")
    monkeypatch.setattr(quantize, "ROWS", 5)
    assert run(stage, tmp_path / "blocks.parquet").equals(whole)


@pytest.mark.parametrize("n_shards", [1, 3, 15])
def test_the_shard_count_changes_nothing(stage, tmp_path, n_shards):
    _, manifest, _, codebook = stage
    parts = []
    for shard in range(n_shards):
        features = tmp_path / f"features-{shard}.parquet"
        encoder = load_encoder("mfcc")
        extract_features(manifest, encoder, features, shard=shard, n_shards=n_shards)
        parts.append(tmp_path / f"part-{shard:05d}-of-{n_shards:05d}.parquet")
        quantize_units(features, manifest, codebook, parts[-1])
    index = tmp_path / "index.json"
    gather_units(parts, index, corpus="chirps", split="train", manifest_path=manifest)
    assert read_units(index).equals(run(stage, tmp_path / "whole.parquet"))


def test_the_same_input_gives_the_same_bytes(stage, tmp_path):
    for name in ("one", "two"):
        run(stage, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_features_of_another_encoder_are_refused(stage, tmp_path):
    _, manifest, _, codebook = stage
    features = tmp_path / "features.parquet"
    extract_features(manifest, load_encoder("mfcc", cmvn=False), features)
    with pytest.raises(ArtefactError, match=r"features\.parquet: .*codebook 'km16'"):
        quantize_units(features, manifest, codebook, tmp_path / "part.parquet")
    assert not (tmp_path / "part.parquet").exists()


def test_features_of_another_manifest_are_refused(stage, tmp_path):
    _, manifest, features, codebook = stage
    table = pq.read_table(manifest)
    for name, other in {"shuffled": table.take([1, 0, *range(2, 12)]), "short": table[:5]}.items():
        path = tmp_path / f"{name}.parquet"
        pq.write_table(other, path)
        with pytest.raises(ArtefactError, match=rf"expected utterances of .*{name}\.parquet"):
            quantize_units(features, path, codebook, tmp_path / "part.parquet")
    assert not (tmp_path / "part.parquet").exists()


def test_damaged_features_are_named(stage, tmp_path):
    _, manifest, features, codebook = stage
    damaged = tmp_path / "damaged.parquet"
    damaged.write_bytes(features.read_bytes()[:-20])
    with pytest.raises(ArtefactError, match=r"damaged\.parquet: not a readable Parquet"):
        quantize_units(damaged, manifest, codebook, tmp_path / "part.parquet")


def test_renditions_have_units_beside_those_of_the_recording(stage, tmp_path):
    _, manifest, _, codebook = stage
    plain = run(stage, tmp_path / "plain.parquet")
    features, out = tmp_path / "features.parquet", tmp_path / "part.parquet"
    extract_features(manifest, load_encoder("mfcc"), features, speeds=[0.8, 1.25])
    assert quantize_units(features, manifest, codebook, out) == N_UTTERANCES
    found = pq.read_table(out)
    assert found.column_names == [*plain.column_names[:3], "renditions", *plain.column_names[3:]]
    assert found.drop_columns("renditions").equals(plain)
    book = load_codebook(codebook)
    rows = [deduplicate(book.assign(frames))[0].tolist() for _, frames in iter_features(features)]
    assert found["renditions"].to_pylist() == [rows[i + 1 : i + 3] for i in range(0, len(rows), 3)]
    index = gather_units([out], tmp_path / "index.json", corpus="c", split="train")
    assert index["label_columns"] == ["word"]
    examples = read_examples(tmp_path / "index.json", Classification(("word",), (WORDS,)))
    assert [len(one) for one in examples.heard()] == [3] * N_UTTERANCES
    few = few_examples(examples, 5, seed=1)
    assert few.renditions == [examples.renditions[examples.utt_ids.index(i)] for i in few.utt_ids]
