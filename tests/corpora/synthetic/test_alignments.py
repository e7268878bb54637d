"""Phone alignments of synthetic corpora, as files."""

from __future__ import annotations

import re

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from speechprompt.cli import main
from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.config.values import block_to_json
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.registry import SYNTHETIC_TASKS
from speechprompt.corpora.synthetic import synthesis, synthesise_corpus
from speechprompt.corpora.synthetic.alignments import align_phones, phone_of
from speechprompt.errors import ArtefactError

SIZES = {"n_train": 3, "n_valid": 2, "n_test": 26}
# Those that the documentation of phone_of lists.
LISTED = re.findall("``(.+?)``", phone_of.__doc__.partition("- stops")[2], re.DOTALL)
PHONES = {phone for phones in LISTED for phone in phones.split()}


@pytest.fixture(scope="module", params=SYNTHETIC_TASKS)
def corpus(request, tmp_path_factory):
    """A task, its corpus and its manifests."""
    root = tmp_path_factory.mktemp(request.param)
    synthesise_corpus(SyntheticCorpus(task=request.param, **SIZES), root, seed=3)
    prepare_corpus(SyntheticCorpus(), root, root / "manifests", seed=3)
    return request.param, root


@pytest.mark.parametrize(
    ("mnemonic", "phone"),
    [
        *(("'i:", "i"), ("i", "i"), ("I2", "I"), ("'3:", "3"), ("3", "3"), (",0", "0")),
        *(("t#", "t"), ("t[", "t"), ("r-", "r"), ("@-", "@"), (";", "j"), ("i@3", "i@")),
        *(("aI@", "aI@"), ("@L", "@L"), ("0#", "0"), ("sil", "sil"), ("tS", "tS")),
    ],
)
def test_phones_have_no_stress_and_no_variants(mnemonic, phone):
    assert phone_of(mnemonic) == phone


def test_every_recording_is_aligned_from_start_to_end(corpus, tmp_path):
    task, root = corpus
    manifest = root / "manifests" / "test.parquet"
    settings = SyntheticCorpus(task=task, **SIZES)
    align_phones(settings, manifest, tmp_path / "test.parquet", seed=3)
    rows = pq.read_table(tmp_path / "test.parquet").to_pylist()
    recordings = pq.read_table(manifest).to_pylist()
    assert [row["utt_id"] for row in rows] == [recording["utt_id"] for recording in recordings]
    for row, recording in zip(rows, recordings, strict=True):
        assert len(row["phones"]) == len(row["starts"])
        assert row["starts"][0] == 0
        assert row["end"] == pytest.approx(recording["n_samples"] / 16_000)
        assert all(np.diff([*row["starts"], row["end"]]) > 0)
        assert set(row["phones"]) <= PHONES
        silent = recording["speaker"] is None
        assert (row["phones"] == ["sil"]) == silent


def test_the_verb_does_the_same_in_several_processes(tmp_path, monkeypatch):
    synthesise_corpus(SyntheticCorpus(task="transcription", **SIZES), tmp_path, seed=3)
    prepare_corpus(SyntheticCorpus(), tmp_path, tmp_path / "manifests", seed=3)
    manifest = tmp_path / "manifests" / "test.parquet"
    corpus = SyntheticCorpus(task="transcription", **SIZES)
    align_phones(corpus, manifest, tmp_path / "once", seed=3)
    monkeypatch.setattr(synthesis, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(synthesis, "BATCH", 4)
    status = main(
        [
            *("align-phones", str(manifest), "--settings", block_to_json(corpus)),
            *("--seed", "3", "--compute-threads", "2", "--out", str(tmp_path / "twice")),
        ]
    )
    assert status == 0
    assert (tmp_path / "twice").read_bytes() == (tmp_path / "once").read_bytes()


def test_other_settings_and_other_recordings_are_refused(corpus, tmp_path):
    task, root = corpus
    settings = SyntheticCorpus(task=task, **SIZES)
    manifest = root / "manifests" / "valid.parquet"
    with pytest.raises(ArtefactError, match=r"valid.parquet: expected recordings of the task"):
        align_phones(settings, manifest, tmp_path / "a", seed=4)
    first = pq.read_table(manifest)["path"][0].as_py()
    target = tmp_path / first
    for path in pq.read_table(manifest)["path"].to_pylist():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes((root / path).read_bytes())
    moved = tmp_path / "valid.parquet"
    pq.write_table(pq.read_table(manifest).replace_schema_metadata({"root": "."}), moved)
    waveform, rate = soundfile.read(target)
    soundfile.write(target, np.roll(waveform, 160), rate)
    with pytest.raises(ArtefactError, match=r"expected the recording that eSpeak NG makes of it"):
        align_phones(settings, moved, tmp_path / "a", seed=3)
    target.unlink()
    with pytest.raises(ArtefactError, match="cannot be read"):
        align_phones(settings, moved, tmp_path / "a", seed=3)
    assert not (tmp_path / "a").exists()
