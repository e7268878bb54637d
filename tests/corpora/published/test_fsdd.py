from __future__ import annotations

import pyarrow.parquet as pq
import pytest

from speechprompt.config.corpora import FsddCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.errors import CorpusError

NAMES = [f"{d}_{s}_{i}.wav" for d in (3, 7) for s in ("ann", "bo_b") for i in (0, 4, 5, 12)]


def rows(folder, split):
    return pq.read_table(folder / f"{split}.parquet").to_pylist()


@pytest.mark.parametrize("below", ["", "recordings"])
def test_official_split(tmp_path, record, below, configured_labels):
    record(tmp_path / "root" / below, *NAMES)
    settings = FsddCorpus(valid_fraction=0.3)
    counts = prepare_corpus(settings, tmp_path / "root", tmp_path / "m", seed=0)
    assert configured_labels(FsddCorpus(), tmp_path / "m")
    assert counts["test"] == 8
    assert counts["train"] + counts["valid"] == 8
    test = rows(tmp_path / "m", "test")
    assert {row["utt_id"].rsplit("_", 1)[1] for row in test} == {"0", "4"}
    assert {(row["digit"], row["speaker"]) for row in test} == {
        (digit, speaker) for digit in "37" for speaker in ("ann", "bo_b")
    }
    assert all((tmp_path / "root" / row["path"]).is_file() for row in test)


def test_left_out_speaker(tmp_path, record):
    record(tmp_path, *NAMES)
    prepare_corpus(FsddCorpus(test_speaker="bo_b"), tmp_path, tmp_path / "m", seed=0)
    assert {row["speaker"] for row in rows(tmp_path / "m", "test")} == {"bo_b"}
    assert len(rows(tmp_path / "m", "test")) == 8
    others = rows(tmp_path / "m", "train") + rows(tmp_path / "m", "valid")
    assert {row["speaker"] for row in others} == {"ann"}
    with pytest.raises(CorpusError, match=r"expected one of ann, bo_b .* found 'carl'"):
        prepare_corpus(FsddCorpus(test_speaker="carl"), tmp_path, tmp_path / "m", seed=0)


def test_wrong_folders(tmp_path, record):
    with pytest.raises(CorpusError, match="no such folder"):
        prepare_corpus(FsddCorpus(), tmp_path / "none", tmp_path / "m", seed=0)
    record(tmp_path, "hello.wav")
    with pytest.raises(CorpusError, match=r"expected recordings named .*, found none"):
        prepare_corpus(FsddCorpus(), tmp_path, tmp_path / "m", seed=0)


def test_real_recordings(tmp_path, shared_data):
    counts = prepare_corpus(FsddCorpus(), shared_data / "fsdd", tmp_path / "m", seed=0)
    assert counts["test"] == 4 * 10 * 5
    assert counts["train"] + counts["valid"] == 1800
    assert 140 <= counts["valid"] <= 220
    assert {row["sample_rate"] for row in rows(tmp_path / "m", "test")} == {8000}
