"""Manifests of lhotse, which it writes and reads itself: supervisions, recordings and cuts."""

import gzip
import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from foreign import SPLITS, prepare

from small_run import RATE
from speechprompt.audio.reading import read_audio
from speechprompt.config.corpora import LhotseCorpus
from speechprompt.corpora.registry import listing_of
from speechprompt.errors import CorpusError


def lhotse_of(talks, change=lambda split, item: item, name="s.jsonl.gz"):
    """Two supervisions in each of the recordings, one of them on the second channel."""
    lhotse = pytest.importorskip("lhotse")
    files = {}
    for i, split in enumerate(SPLITS):
        recording = lhotse.Recording.from_file(talks / f"talk{i}.wav")
        spans = ((0.0, 1.25, [0, 1], "A"), (2.5, 1.1, 1, "B"))
        items = [recording.to_dict()]
        for start, duration, channel, text in spans:
            items.append(
                lhotse.SupervisionSegment(
                    id=f"{text}-{i}",
                    recording_id=recording.id,
                    start=start,
                    duration=duration,
                    channel=channel,
                    text=text,
                    gender="f" if text == "A" else None,
                    custom={"mood": 3, "age": float("nan"), "alignment_of": {"no": "label"}},
                ).to_dict()
            )
        files[split] = str(talks / f"{split}.{name}")
        opened = gzip.open if name.endswith("gz") else open
        with opened(files[split], "wt") as stream:
            for item in items:
                stream.write(json.dumps(change(split, item)) + "\n")
    return LhotseCorpus(**files)


def test_supervisions_in_longer_recordings(talks):
    corpus = lhotse_of(talks)
    assert prepare(corpus, talks) == {"train": 2, "valid": 2, "test": 2}
    first, second = pq.read_table(talks / ".m/train.parquet").to_pylist()
    assert first["utt_id"] == "A-0"
    assert first["path"] == f"{talks}/talk0.wav#t=0,1.25"
    assert second == {
        "utt_id": "B-0",
        "path": f"{talks}/talk0.wav#t=2.5,3.6&channel=1",
        "n_samples": 17_600,
        "sample_rate": RATE,
        "speaker": None,
        "text": "B",
        "gender": "",
        "mood": "3",
    }
    assert listing_of(corpus).label_columns_of(corpus) == ["text", "gender", "mood", "speaker"]


def test_lhotse_reads_the_same_samples(talks):
    lhotse = pytest.importorskip("lhotse")
    prepare(lhotse_of(talks), talks)
    recording = lhotse.Recording.from_file(talks / "talk0.wav")
    for row in pq.read_table(talks / ".m/train.parquet").to_pylist():
        start, duration = (0, 1.25) if row["utt_id"] == "A-0" else (2.5, 1.1)
        theirs = recording.load_audio(offset=start, duration=duration)
        theirs = theirs[1] if "channel" in row["path"] else theirs.mean(axis=0)
        np.testing.assert_array_equal(read_audio(row["path"]), theirs)


def changed(**fields):
    """A change of the items of train that have the fields' first key."""
    key = next(iter(fields))
    return lambda split, item: item | fields if split == "train" and key in item else item


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (changed(start=-1), r"train\.s\.jsonl\.gz, line 2: expected an end after the start -1"),
        (changed(duration=0, start=2), "line 2: expected an end after the start 2, found 2"),
        (changed(recording_id="x"), "line 2: no recording 'x' in these manifests"),
        (changed(start="soon"), "line 2: could not convert"),
        (changed(channel=7), "line 2: expected one file with channel 7, found 0"),
        (
            changed(sources=[{"type": "url", "channels": [0, 1], "source": "x"}]),
            "line 2: a recording of type 'url' is not read",
        ),
        (changed(sources=[{"channels": [0, 1]}]), "line 2: expected the field 'type'"),
        (changed(sources=[]), "line 2: expected one file"),
        (
            changed(sources=None, transforms=[{"name": "Speed", "kwargs": {"factor": 1.1}}]),
            "line 2: the recording is changed by Speed; save its audio first",
        ),
        (lambda split, item: {"id": "x"}, "line 1: expected a recording, a supervision or a cut"),
        (lambda split, item: [item], "line 1: expected an object of JSON"),
    ],
)
def test_wrong_manifests_of_lhotse(talks, change, message):
    with pytest.raises(CorpusError, match=message):
        prepare(lhotse_of(talks, change), talks)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("mixed", "line 1: a cut of type MixedCut is not read; save its audio first"),
        ("two", r"line 1: the cut has 2 supervisions; divide it with trim_to_supervisions\(\)"),
    ],
)
def test_wrong_cuts(talks, kind, message):
    lhotse = pytest.importorskip("lhotse")
    recording = lhotse.Recording.from_file(talks / "talk0.wav")
    cut = recording.to_cut()
    if kind == "mixed":
        cut = cut.pad(duration=9.0)
    else:
        for name in "ab":
            cut.supervisions.append(lhotse.SupervisionSegment(name, recording.id, 0.0, 1.0))
    lhotse.CutSet.from_cuts([cut]).to_file(talks / "c.jsonl")
    with pytest.raises(CorpusError, match=message):
        prepare(LhotseCorpus(train=str(talks / "c.jsonl")), talks)


@pytest.mark.parametrize(
    "content", [b"{", b"\xff\xfe", b"[" * 100_000, gzip.compress(b"{}", mtime=0)[:9]]
)
def test_files_that_are_no_manifest_of_lhotse(tmp_path, content):
    for name in ("a.jsonl", "a.jsonl.gz"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(CorpusError, match=rf"{name}.*cannot be read"):
            prepare(LhotseCorpus(train=str(tmp_path / name)), tmp_path)


def test_a_damaged_archive_is_named(tmp_path):
    content = bytearray(gzip.compress(b"{}\n" * 100))
    content[10:20] = b"\xff" * 10  # the head of the first block
    (tmp_path / "a.jsonl.gz").write_bytes(content)
    with pytest.raises(CorpusError, match=r"a\.jsonl\.gz: cannot be read"):
        prepare(LhotseCorpus(train=str(tmp_path / "a.jsonl.gz")), tmp_path)
