"""Purities and mutual information of units and phones, and their table and picture."""

from __future__ import annotations

from collections.abc import Sequence
from math import log2

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.stats import entropy
from sklearn.metrics import mutual_info_score

from speechprompt.cli import main
from speechprompt.corpora.synthetic.alignments import ALIGNMENTS_SCHEMA
from speechprompt.encoders import load_encoder
from speechprompt.errors import ArtefactError
from speechprompt.evaluation.phone_quality import frame_centres, measure, measure_units, phones_at
from speechprompt.report.quality_table import compare_quality
from speechprompt.storage.files import read_json, write_json
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units


def write_split(
    folder, frames: Sequence[Sequence[int]], codebook="km4", n_units=4, utt_ids=None, **metadata
):
    """Units and index of utterances given by their frames; repeats collapsed."""
    rows = [deduplicated(row) for row in frames]
    columns = {
        "utt_id": utt_ids or [f"u{i}" for i in range(len(frames))],
        "units": [units for units, _ in rows],
        "durations": [durations for _, durations in rows],
        "n_frames": [len(row) for row in frames],
    }
    about = {"encoder": "mfcc", "frame_rate": 50.0} | metadata
    about = UnitsMetadata(codebook, "ab" * 32, n_units, dedup=True, **about)
    part = folder / codebook / "part-00000-of-00001.parquet"
    write_units(part, columns, label_columns=[], metadata=about)
    index = folder / codebook / "index.json"
    gather_units([part], index, corpus="words", split="test")
    return index


def deduplicated(row):
    starts = np.flatnonzero(np.diff(row, prepend=-1))
    return np.asarray(row)[starts], np.diff(starts, append=len(row))


def write_alignments(path, utterances, utt_ids=None):
    """``phone start phone start … end`` of each utterance, in seconds."""
    columns = {
        "utt_id": utt_ids or [f"u{i}" for i in range(len(utterances))],
        "phones": [row[:-1:2] for row in utterances],
        "starts": [row[1:-1:2] for row in utterances],
        "end": [row[-1] for row in utterances],
    }
    pq.write_table(pa.table(columns, schema=ALIGNMENTS_SCHEMA), path)
    return path


@pytest.fixture
def split(tmp_path):
    """Two utterances of four frames (90 ms, centres at 12.5, 32.5, 52.5 and 72.5 ms)."""
    index = write_split(tmp_path, [[0, 0, 1, 2], [0, 1, 1, 2]])
    alignments = write_alignments(
        tmp_path / "phones.parquet",
        [["sil", 0.0, "a", 0.03, "s", 0.07, 0.09], ["sil", 0.0, "a", 0.03, "s", 0.07, 0.09]],
    )
    return index, alignments


def test_metrics_by_hand():
    """Three units, two phones: a a a s | a s s s | - and a unit for s alone."""
    counts = np.array([[3, 1, 0], [1, 3, 4]])
    phone_purity, cluster_purity, pnmi = measure(counts)
    assert phone_purity == pytest.approx((3 + 3 + 4) / 12)
    assert cluster_purity == pytest.approx((3 + 4) / 12)
    of_phones = -(4 / 12) * log2(4 / 12) - (8 / 12) * log2(8 / 12)
    of_phones_given_units = (8 / 12) * (-0.75 * log2(0.75) - 0.25 * log2(0.25))
    assert pnmi == pytest.approx(1 - of_phones_given_units / of_phones)


def test_extremes():
    assert measure(np.diag([3, 2, 5])) == pytest.approx((1, 1, 1))
    # Units that know nothing: the most frequent phone is the best guess.
    phone_purity, cluster_purity, pnmi = measure(np.outer([3, 1], [2, 2]))
    assert (phone_purity, cluster_purity) == (0.75, 0.5)
    assert pnmi == pytest.approx(0, abs=1e-12)
    # More units than phones are as pure, and as telling, but split the phones.
    assert measure(np.array([[2, 2, 0, 0], [0, 0, 1, 3]])) == pytest.approx((1, 5 / 8, 1))
    assert measure(np.array([[2, 3]])) == (1, 0.6, 0)


def test_metrics_are_those_of_scikit_learn():
    generator = np.random.default_rng(0)
    phones = generator.integers(7, size=500)
    units = (3 * phones + generator.integers(9, size=500)) % 20
    counts = np.zeros((8, 25))
    np.add.at(counts, (phones, units), 1)
    expected = mutual_info_score(phones, units) / entropy(np.bincount(phones))
    assert measure(counts)[2] == pytest.approx(expected)
    best = [np.bincount(phones[units == unit]).max() for unit in np.unique(units)]
    assert measure(counts)[0] == pytest.approx(sum(best) / 500)


def test_frames_are_centred_in_their_window():
    np.testing.assert_allclose(frame_centres(3, 50.0, "hubert") * 16_000, [200, 520, 840])
    np.testing.assert_allclose(frame_centres(2, 100.0, "logmel") * 16_000, [200, 360])
    np.testing.assert_allclose(frame_centres(2, 100.0, "cpc") * 16_000, [79, 239])


def test_the_centre_is_where_an_encoder_sees_a_click():
    """Of the frames that a click changes, the middle one is centred nearest to it."""
    torch = pytest.importorskip("torch")
    encoder = load_encoder("mfcc", cmvn=False)
    generator = np.random.default_rng(0)
    quiet = torch.from_numpy(generator.normal(0, 0.01, 16_000).astype(np.float32))
    centres = frame_centres(49, encoder.frame_rate, encoder.kind)
    for at in (4_000, 8_123, 12_345):
        clicked = quiet.clone()
        clicked[at] += 1
        static = slice(0, 13)
        before, after = (encoder.encode([wave])[0][:, static] for wave in (quiet, clicked))
        changed = np.flatnonzero((before != after).any(dim=1).numpy())
        assert len(centres) == len(before)
        assert abs(centres[changed].mean() * 16_000 - at) <= 200
        assert np.abs(centres[changed] * 16_000 - at).max() <= 200


def test_the_phone_at_a_time():
    times = np.array([0.0, 0.04, 0.05, 0.2])
    assert phones_at(["sil", "a"], [0.0, 0.05], times).tolist() == ["sil", "sil", "a", "a"]


def test_units_against_phones(split, tmp_path):
    """Frames: 0-sil 0-a 1-a 2-s and 0-sil 1-a 1-a 2-s."""
    quality = measure_units(*split, tmp_path / "km4.json", encoder="mine")
    assert (quality.codebook, quality.encoder, quality.layer) == ("km4", "mine", None)
    assert quality.n_frames == {"all": 8, "speech": 6}
    assert (quality.n_utterances, quality.n_units, quality.n_phones) == (2, 4, 2)
    scores = quality.frames["all"]
    assert scores["phone_purity"].value == pytest.approx((2 + 3 + 2) / 8)
    assert scores["cluster_purity"].value == pytest.approx((2 + 3 + 2) / 8)
    assert quality.frames["speech"]["phone_purity"].value == 1
    assert quality.frames["speech"]["pnmi"].value == pytest.approx(1)
    assert quality.frames["speech"]["cluster_purity"].value == pytest.approx((3 + 2) / 6)
    low, high = scores["phone_purity"].interval
    assert low <= 7 / 8 <= high
    assert low < high
    assert read_json(tmp_path / "km4.json") == quality.model_dump(mode="json")


def test_layer_and_rate_come_with_the_units(split, tmp_path):
    frames = [[0, 0, 0, 1, 1, 1, 2]] * 2
    index = write_split(tmp_path, frames, "fast", encoder="hubert", layer=6, frame_rate=100.0)
    quality = measure_units(index, split[1], tmp_path / "q.json")
    assert (quality.encoder, quality.layer) == ("hubert", 6)
    # Centres at 12.5, 22.5 | 32.5, …, 62.5 | 72.5 ms.
    assert quality.n_frames == {"all": 14, "speech": 10}


def test_intervals_lie_about_the_value(tmp_path):
    """Though resamples hold fewer distinct utterances, and so look purer."""
    generator = np.random.default_rng(0)
    frames = [generator.integers(40, size=14) for _ in range(30)]
    index = write_split(tmp_path, frames, n_units=40)
    phones = [
        [x for i in range(6) for x in (generator.choice(list("abcd")), i * 0.05)] + [0.3]
        for _ in range(30)
    ]
    alignments = write_alignments(tmp_path / "phones.parquet", phones)
    first, again = (measure_units(index, alignments, tmp_path / "q.json") for _ in range(2))
    assert first == again
    for score in first.frames["all"].values():
        low, high = score.interval
        assert low < score.value < high
        assert 0.01 < high - low < 0.2


def test_units_of_other_recordings_are_refused(split, tmp_path):
    index, alignments = split
    others = write_alignments(
        tmp_path / "o.parquet", [["sil", 0.0, 0.09], ["a", 0.0, 0.09]], ["u1", "u0"]
    )
    with pytest.raises(ArtefactError, match=r"o\.parquet: expected the utterances of .*index"):
        measure_units(index, others, tmp_path / "q.json")
    longer = write_alignments(tmp_path / "l.parquet", [["a", 0.0, 0.2], ["a", 0.0, 0.09]])
    with pytest.raises(ArtefactError, match=r"'u0': expected frames of 0\.200 s .* found 4 at 50"):
        measure_units(index, longer, tmp_path / "q.json")
    silent = write_alignments(tmp_path / "s.parquet", [["sil", 0.0, 0.09]] * 2)
    with pytest.raises(ArtefactError, match="found silence alone"):
        measure_units(index, silent, tmp_path / "q.json")
    ready = write_split(tmp_path, [[0, 1]], "ready", frame_rate=None, encoder=None)
    with pytest.raises(ArtefactError, match="units without frames"):
        measure_units(ready, alignments, tmp_path / "q.json")


@pytest.fixture
def measured(split, tmp_path):
    """The verb's files for three codebooks of the split."""
    worse = write_split(tmp_path, [[0, 0, 0, 2], [0, 1, 2, 2]], "worse")
    best = write_split(tmp_path, [[0, 1, 1, 2]] * 2, "best", encoder="hubert", layer=6)
    files = []
    for index in (worse, split[0], best):
        files.append(tmp_path / f"{index.parent.name}.json")
        arguments = [str(index), "--alignments", str(split[1]), "--out", str(files[-1])]
        assert main(["measure-units", *arguments]) == 0
    return files


def test_codebooks_side_by_side(measured, tmp_path):
    markdown, picture = tmp_path / "table.md", tmp_path / "quality.png"
    files = [str(path) for path in measured]
    assert main(["compare-quality", *files, "--out", str(markdown), "--picture", str(picture)]) == 0
    assert picture.stat().st_size > 10_000
    rows = pq.read_table(tmp_path / "table.parquet").to_pylist()
    assert [(row["frames"], row["codebook"]) for row in rows] == [
        (frames, codebook) for frames in ("all", "speech") for codebook in ("worse", "km4", "best")
    ]
    worse, middle, best = rows[:3]
    assert best["phone_purity"] == best["pnmi"] == pytest.approx(1)
    assert (worse["layer"], worse["gap"], best["layer"]) == (None, None, 6)
    assert best["gap"] == pytest.approx(1)
    assert middle["gap"] == pytest.approx((middle["pnmi"] - worse["pnmi"]) / (1 - worse["pnmi"]))
    lines = markdown.read_text().splitlines()
    assert "`words`, split test (2 utterances)" in lines[0]
    assert lines[2].startswith("| frames | codebook | encoder | layer | K | phone purity |")
    assert lines[6].startswith("| all | best | hubert | 6 | 4 | 100.00 [")
    assert lines[6].endswith("| 100.00 |")


def test_other_phones_are_not_compared(measured, tmp_path):
    values = read_json(measured[1])
    values["hashes"]["alignments"] = "other"
    write_json(measured[1], values)
    with pytest.raises(ArtefactError, match=r"km4\.json: measured on words/test with other phones"):
        compare_quality(measured, tmp_path / "t.md", tmp_path / "t.png")
