"""Baselines on MFCC: their distances, their answers, and what they learn from."""

import tracemalloc

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from scipy.spatial.distance import cdist

from speechprompt.errors import CorpusError
from speechprompt.evaluation import acoustic_baselines
from speechprompt.evaluation.acoustic_baselines import fit_acoustic_baseline, warped_distances
from speechprompt.evaluation.scored_splits import ScoreFiles

PITCHES = {"low": 300, "high": 1500}


def literal_distance(frames, other):
    """Sakoe and Chiba's symmetric form, P = 0, pair by pair."""
    pairs = cdist(frames, other)
    n, m = pairs.shape
    costs = np.full((n, m), np.inf)
    for i in range(n):
        for j in range(m):
            before = [2 * pairs[0, 0]] if i == j == 0 else []
            if i:
                before.append(costs[i - 1, j] + pairs[i, j])
            if j:
                before.append(costs[i, j - 1] + pairs[i, j])
            if i and j:
                before.append(costs[i - 1, j - 1] + 2 * pairs[i, j])
            costs[i, j] = min(before)
    return costs[-1, -1] / (n + m)


@pytest.mark.parametrize("most", [20_000_000, 100])
def test_distances_are_the_literal_ones(monkeypatch, most):
    monkeypatch.setattr(acoustic_baselines, "MAX_PAIRS", most)
    generator = np.random.default_rng(0)
    frames = generator.normal(size=(7, 3)).astype(np.float32)
    others = [generator.normal(size=(m, 3)).astype(np.float32) for m in (9, 1, 7, 12, 3)]
    expected = [literal_distance(frames, other) for other in others]
    np.testing.assert_allclose(warped_distances(frames, others), expected, rtol=1e-5)
    assert warped_distances(frames, [frames])[0] == 0


def test_a_long_recording_takes_little_memory():
    generator = np.random.default_rng(0)
    frames = generator.normal(size=(4000, 2)).astype(np.float32)
    others = [generator.normal(size=(50, 2)).astype(np.float32) for _ in range(200)]
    tracemalloc.start()
    found = warped_distances(frames, others)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 400e6
    assert found[0] == pytest.approx(warped_distances(others[0], [frames])[0], rel=1e-5)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Tones of two pitches, once or twice."""
    root = tmp_path_factory.mktemp("tones")
    generator = np.random.default_rng(0)
    for split, n in (("train", 24), ("valid", 8), ("test", 12)):
        rows = []
        for number in range(n):
            pitch, times = ("low", "high")[number % 2], 1 + number // 2 % 2
            samples = np.arange(int(generator.integers(2400, 3200))) / 16_000
            tone = 0.3 * np.sin(2 * np.pi * PITCHES[pitch] * samples)
            wave = np.concatenate([tone, np.zeros(800)] * times)
            wave += generator.normal(0, 0.01, len(wave))
            soundfile.write(root / f"{split}-{number}.wav", wave, 16_000)
            rows.append(
                {
                    "utt_id": f"{split}-{number}",
                    "path": f"{split}-{number}.wav",
                    "n_samples": len(wave),
                    "sample_rate": 16_000,
                    "pitch": pitch,
                    "times": str(times),
                    "both": pitch if times == 1 else f"{pitch} | twice",
                }
            )
        table = pa.Table.from_pylist(rows).replace_schema_metadata({"root": "."})
        pq.write_table(table, root / f"{split}.parquet")
    return root


def fit(corpus, model, folder, columns=("pitch", "times"), **options):
    files = ScoreFiles(folder / "predictions.parquet", folder / "metrics.json")
    train, dev, test = (corpus / f"{split}.parquet" for split in ("train", "valid", "test"))
    return fit_acoustic_baseline(
        "tones", model, train, dev, [dev, test], list(columns), files, **options
    )


@pytest.mark.parametrize("model", ["mfcc_mean", "mfcc_dtw"])
def test_tones_are_told_apart(corpus, tmp_path, model):
    metrics = fit(corpus, model, tmp_path)
    assert metrics.method == model
    assert metrics.main.value == 1.0
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert [row["split"] for row in rows] == ["valid"] * 8 + ["test"] * 12
    assert {row["prediction"] for row in rows} == {row["reference"] for row in rows}


@pytest.mark.parametrize("model", ["mfcc_mean", "mfcc_dtw"])
def test_the_labels_of_a_single_column_may_hold_the_mark_between_columns(corpus, tmp_path, model):
    metrics = fit(corpus, model, tmp_path, ["both"])
    assert metrics.main.value == 1.0
    rows = pq.read_table(tmp_path / "predictions.parquet").to_pylist()
    assert {row["prediction"] for row in rows} == {
        *("low", "low | twice", "high", "high | twice"),
    }


def test_few_utterances_are_those_of_the_prompt(corpus, tmp_path):
    metrics = fit(corpus, "mfcc_dtw", tmp_path, utterances=4, seed=1)
    assert metrics.details["n_examples"] == 4
    assert fit(corpus, "mfcc_mean", tmp_path, utterances=1).main.value <= 0.5
    with pytest.raises(CorpusError, match="expected at most the 24 of train, found 25"):
        fit(corpus, "mfcc_mean", tmp_path, utterances=25)
