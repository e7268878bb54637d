"""One long recording holds many utterances: ``start`` and ``end`` in a table."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from small_run import RATE, sound
from speechprompt.cli import main
from speechprompt.config.corpora import CsvCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.table import read_label_columns, read_recordings
from speechprompt.corpora.validate import validate_corpus
from speechprompt.encoders import load_encoder
from speechprompt.errors import CorpusError
from speechprompt.inspect.utterances import find_utterance, plot_utterance
from speechprompt.units.extraction import extract_features
from speechprompt.units.quantization import quantize_units
from speechprompt.units.unit_files import gather_units

SPANS = [(0.0, 1.25), (2.0, 2.75), (3.5, 4.0), (4.25, 5.5), (6.0, 7.0)]
SPLITS = ["train", "train", "train", "valid", "test"]


def write_corpora(folder):
    """The same utterances, as parts of a long recording and as recordings of their own."""
    for name in ("long", "cut", "results/codebooks"):
        (folder / name).mkdir(parents=True)
    talk = sound(1, 8.0)
    soundfile.write(folder / "long/talk.flac", talk, RATE)
    talk = soundfile.read(folder / "long/talk.flac", dtype="int16")[0]
    long, cut = (["path,split,start,end,label"] for _ in range(2))
    for i, ((start, end), split) in enumerate(zip(SPANS, SPLITS, strict=True)):
        part = talk[int(start * RATE) : int(end * RATE)]
        soundfile.write(folder / f"cut/{i}.wav", part, RATE)
        long.append(f"talk.flac,{split},{start},{end},yes")
        cut.append(f"{i}.wav,{split},,,yes")
    (folder / "long/t.csv").write_text("\n".join(long))
    (folder / "cut/t.csv").write_text("\n".join(cut))
    for name in ("long", "cut"):
        settings = CsvCorpus(table=str(folder / name / "t.csv"))
        prepare_corpus(settings, folder / name, folder / "results/manifests" / name, seed=1)
    return folder


@pytest.fixture(scope="module")
def corpora(run):
    return write_corpora(run / "corpora")


def test_parts_are_utterances(corpora):
    manifests = corpora / "results/manifests"
    validate_corpus(manifests / "long", label_columns=["label"])
    rows = pq.read_table(manifests / "long/train.parquet").to_pylist()
    assert list(rows[0]) == ["utt_id", "path", "n_samples", "sample_rate", "speaker", "label"]
    assert [row["utt_id"] for row in rows] == [
        "talk-0000000-0001250",
        "talk-0002000-0002750",
        "talk-0003500-0004000",
    ]
    assert rows[1]["path"] == "talk.flac#t=2,2.75"
    assert [row["n_samples"] for row in rows] == [20_000, 12_000, 8_000]
    (corpora / "long/talk.flac").rename(corpora / "away.flac")
    try:
        with pytest.raises(CorpusError, match=r"expected the file .*talk\.flac, which is not"):
            validate_corpus(manifests / "long")
    finally:
        (corpora / "away.flac").rename(corpora / "long/talk.flac")


def quantised(run, folder, name):
    """Units of a train split."""
    manifest = folder / f"results/manifests/{name}/train.parquet"
    features = folder / f"{name}.features.parquet"
    extract_features(manifest, load_encoder("mfcc", cmvn=True), features)
    out = folder / f"results/units/tiny/{name}/train/part-00000-of-00001.parquet"
    quantize_units(features, manifest, run / "results/codebooks/tiny.safetensors", out)
    gather_units([out], out.with_name("index.json"), corpus=name, split="train")
    return out


def test_parts_have_the_units_of_their_copies(run, corpora, tmp_path):
    long, cut = (pq.read_table(quantised(run, corpora, name)) for name in ("long", "cut"))
    for column in ("units", "durations", "n_frames", "label"):
        assert long[column] == cut[column]
    out = tmp_path / "a.png"
    utterance = find_utterance(corpora / "results/units/tiny/long/train", "talk-0002000-0002750")
    plot_utterance(utterance, out)
    assert out.stat().st_size > 1000


def test_parts_are_answered_as_their_copies(run, corpora, capsys):
    def answers(*names):
        assert main(["predict", str(run / "results/ks"), *map(str, names), "--json"]) == 0
        found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
        return [answer["file"] for answer in found], [answer["probabilities"] for answer in found]

    manifests = corpora / "results/manifests"
    files, long = answers(manifests / "long/train.parquet")
    assert files[1].endswith("long/talk.flac#t=2,2.75")
    assert long == answers(manifests / "cut/train.parquet")[1]
    assert long == answers(*files)[1]
    everything = answers(corpora / "long/t.csv")
    assert everything[0][:3] == files
    assert len(everything[0]) == 5


def test_times_are_no_labels(tmp_path):
    table = tmp_path / "t.csv"
    table.write_text("path,split,start,end,label\na.wav,train,1,2,x\na.wav,train,2,,y\n")
    recordings, labels = read_recordings(table)
    assert labels == read_label_columns(table) == ["label"]
    assert [item.path for item in recordings] == ["a.wav#t=1,2", "a.wav#t=2"]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ("one,2", "line 3: expected seconds as start, such as 12.5, found 'one'"),
        ("1,nan", "line 3: expected seconds as end, such as 12.5, found 'nan'"),
        ("-1,2", "line 3: expected seconds as start, such as 12.5, found '-1'"),
        ("2,2", "line 3: expected an end after the start 2, found 2"),
        ("0.50,1.0", r"line 3: a\.wav#t=0\.5,1 is listed before, in line 2"),
    ],
)
def test_wrong_times_are_named(tmp_path, times, message):
    table = tmp_path / "t.csv"
    table.write_text(f"path,split,start,end,label\na.wav,train,0.5,1,x\na.wav,train,{times},y\n")
    with pytest.raises(CorpusError, match=message) as caught:
        read_recordings(table)
    assert "t.csv" in str(caught.value)


def prepare(folder, rows, **settings):
    (folder / "t.csv").write_text("\n".join(["path,split,start,end,label", *rows]))
    return prepare_corpus(
        CsvCorpus(table=str(folder / "t.csv")), folder, folder / "m", seed=1, **settings
    )


def test_what_is_behind_the_recording_is_rejected(tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(1, 3.0), RATE)
    rows = [f"a.wav,{split},{i},{i + 0.5},x" for i, split in enumerate(["train", "valid", "test"])]
    with pytest.raises(CorpusError, match=r"a\.wav#t=2\.75,3\.5 \(ends after the end"):
        prepare(tmp_path, [*rows, "a.wav,train,2.75,3.5,x"])
    counts = prepare(tmp_path, [*rows, "a.wav,train,2.75,3.5,x"], max_rejected=0.5)
    assert counts == {"train": 1, "valid": 1, "test": 1}
    assert pq.read_table(tmp_path / "m/rejects.parquet")["path"].to_pylist() == ["a.wav#t=2.75,3.5"]


def test_repeats_and_overlaps_across_splits_are_found(tmp_path, capsys):
    talk = sound(1, 5.0)
    talk[4 * RATE :] = talk[:RATE]
    soundfile.write(tmp_path / "a.wav", talk, RATE)
    rows = ["a.wav,train,0,1,x", "a.wav,valid,1.9,3,x", "a.wav,test,4,5,x"]
    prepare(tmp_path, rows)
    assert "1 of 1 recordings in test have the same samples" in capsys.readouterr().err
    rows = ["a.wav,train,0,2,x", "a.wav,valid,1.9,3,x", "a.wav,test,1.5,3.5,x"]
    prepare(tmp_path, rows)
    said = capsys.readouterr().err
    assert "1 of 1 utterances in test overlap with one of an earlier split" in said
    assert "in valid overlap" not in said
    with pytest.raises(CorpusError, match=r"in test overlap .* max_repeated = 0"):
        prepare(tmp_path, rows, max_repeated=0.0)


@pytest.mark.parametrize(
    ("train", "test", "is_heard"),
    [
        ("a.wav", "a.wav#t=1,2", True),
        ("a.wav#t=1,2", "a.wav", True),
        ("a.wav", "link.wav#t=1,1.2", True),
        ("a.wav", "a.wav#channel=1", True),
        ("a.wav#t=0,2", "a.wav#t=1,3&channel=1", True),
        ("a.wav#channel=0", "a.wav#t=1,3&channel=1", False),
        ("a.wav#t=0,1.2", "a.wav#t=1,3", False),
        ("a.wav", "b.wav#t=1,2", False),
    ],
)
def test_a_whole_recording_overlaps_with_its_parts(tmp_path, capsys, train, test, is_heard):
    both = np.stack([sound(1, 4.0), sound(2, 4.0)], 1)
    for name in ("a", "b", "c"):
        soundfile.write(tmp_path / f"{name}.wav", both, RATE)
    (tmp_path / "link.wav").symlink_to("a.wav")
    rows = [f'"{train}",train,,,x', "c.wav,valid,,,x", f'"{test}",test,,,x']
    prepare(tmp_path, rows)
    said = capsys.readouterr().err
    assert ("1 of 1 utterances in test overlap" in said) == is_heard
    assert "in valid overlap" not in said


def test_a_path_may_name_the_part_itself(tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(1, 3.0), RATE)
    parts = {"train": "0.0,1.00", "valid": "01,2", "test": "2.50"}
    rows = [f'"./a.wav#t={part}",{split},,,x' for split, part in parts.items()]
    prepare(tmp_path, rows)
    found = [pq.read_table(tmp_path / f"m/{split}.parquet").to_pylist()[0] for split in parts]
    assert [row["path"] for row in found] == ["a.wav#t=0,1", "a.wav#t=1,2", "a.wav#t=2.5"]
    assert [row["n_samples"] for row in found] == [16_000, 16_000, 8_000]
    assert [row["utt_id"] for row in found][2] == "a-0002500-end"


def test_a_file_by_two_names_has_each_part_once(tmp_path):
    soundfile.write(tmp_path / "a.wav", sound(1, 3.0), RATE)
    (tmp_path / "b.wav").symlink_to("a.wav")
    rows = ["a.wav,train,0,1,x", "./b.wav,test,0,1,x"]
    with pytest.raises(CorpusError, match=r"a\.wav#t=0,1 \(train\) and b\.wav#t=0,1 \(test\) are"):
        prepare(tmp_path, rows)
    assert prepare(tmp_path, [*rows[:1], "a.wav,valid,1,2,x", "b.wav,test,2,3,x"])["test"] == 1
