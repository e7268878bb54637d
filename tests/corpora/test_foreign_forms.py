"""Recordings as Kaldi, lhotse and the hub list them; the libraries themselves write the lists."""

import gzip
import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from small_run import RATE, sound
from speechprompt.config.corpora import CsvCorpus, KaldiCorpus, LhotseCorpus, ParquetCorpus
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.registry import listing_of
from speechprompt.corpora.validate import validate_corpus
from speechprompt.encoders import load_encoder
from speechprompt.errors import CorpusError
from speechprompt.units.extraction import extract_features
from speechprompt.units.quantization import quantize_units

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
SPLITS = ("train", "valid", "test")
HUB = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def digits_by_split(shared_data):
    """Recordings of a few digits by two speakers: file, word and speaker, by split."""
    files = {"train": (5, 6), "valid": (7,), "test": (0,)}
    return {
        split: [
            (shared_data / "fsdd" / f"{digit}_{speaker}_{index}.wav", DIGITS[digit], speaker)
            for digit in (0, 3, 7)
            for speaker in ("george", "theo")
            for index in indices
        ]
        for split, indices in files.items()
    }


def as_csv(folder, rows):
    lines = ["path,split,speaker,text"]
    lines += [f"{path},{split},{who},{word}" for split in rows for path, word, who in rows[split]]
    (folder / "t.csv").write_text("\n".join(lines))
    return CsvCorpus(table=str(folder / "t.csv"))


def as_kaldi(folder, rows, **settings):
    for split, found in rows.items():
        data = folder / split
        data.mkdir()
        for name, column in (("wav.scp", 0), ("text", 1), ("utt2spk", 2)):
            lines = sorted(f"{row[0].stem} {row[column]}\n" for row in found)
            (data / name).write_text("".join(lines))
    return KaldiCorpus(**{split: str(folder / split) for split in rows}, **settings)


def lhotse_sets(rows):
    lhotse = pytest.importorskip("lhotse")
    recordings = [lhotse.Recording.from_file(path) for path, _, _ in rows]
    supervisions = [
        lhotse.SupervisionSegment(
            id=path.stem,
            recording_id=one.id,
            start=0.0,
            duration=one.duration,
            text=word,
            speaker=who,
        )
        for one, (path, word, who) in zip(recordings, rows, strict=True)
    ]
    return (
        lhotse.RecordingSet.from_recordings(recordings),
        lhotse.SupervisionSet.from_segments(supervisions),
    )


def as_lhotse(folder, rows):
    files = {}
    for split, found in rows.items():
        recordings, supervisions = lhotse_sets(found)
        files[split] = [str(folder / f"{split}.{name}.jsonl.gz") for name in ("rec", "sup")]
        recordings.to_file(files[split][0])
        supervisions.to_file(files[split][1])
    return LhotseCorpus(**files)


def as_cuts(folder, rows):
    lhotse = pytest.importorskip("lhotse")
    files = {}
    for split, found in rows.items():
        files[split] = str(folder / f"{split}.jsonl")
        recordings, supervisions = lhotse_sets(found)
        cuts = lhotse.CutSet.from_manifests(recordings=recordings, supervisions=supervisions)
        cuts.to_file(files[split])
    return LhotseCorpus(**files)


def hub_metadata(**features):
    """What the hub's library writes into a schema."""
    told = {"audio": {"sampling_rate": RATE, "_type": "Audio"}, **features}
    return {"huggingface": json.dumps({"info": {"features": told}})}


def write_hub(path, cells, columns, features=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table({"audio": pa.array(cells, HUB), **columns})
    table = table.replace_schema_metadata(hub_metadata(**(features or {})))
    pq.write_table(table, path, **options)


def as_parquet(folder, rows):
    classes = {"text": {"names": DIGITS, "_type": "ClassLabel"}}
    for split, found in rows.items():
        name = {"valid": "validation"}.get(split, split)
        cells = [{"bytes": path.read_bytes(), "path": path.name} for path, _, _ in found]
        columns = {
            "text": pa.array([DIGITS.index(word) for _, word, _ in found], pa.int64()),
            "speaker_id": [who for _, _, who in found],
        }
        path = folder / f"data/{name}-00000-of-00001.parquet"
        write_hub(path, cells, columns, classes, row_group_size=2)
    return ParquetCorpus(folder=str(folder), speaker="speaker_id")


def prepare(corpus, folder, **options):
    return prepare_corpus(corpus, corpus.base, folder / ".m", seed=1, **options)


def units_of(run, folder, split):
    """The units of a prepared split, and what stands beside them."""
    manifest, features = folder / f".m/{split}.parquet", folder / "features.parquet"
    extract_features(manifest, load_encoder("mfcc", cmvn=True), features)
    quantize_units(
        features, manifest, run / "results/codebooks/tiny.safetensors", folder / "u.parquet"
    )
    table = pq.read_table(folder / "u.parquet")
    return {name: table[name].to_pylist() for name in table.column_names if name != "path"}


def test_every_form_has_the_same_units(run, shared_data, tmp_path):
    rows = digits_by_split(shared_data)
    found = {}
    for form in (as_csv, as_kaldi, as_lhotse, as_cuts, as_parquet):
        folder = tmp_path / form.__name__
        folder.mkdir()
        corpus = form(folder, rows)
        counts = prepare(corpus, folder)
        assert counts == {"train": 12, "valid": 6, "test": 6}
        validate_corpus(folder / ".m", label_columns=["text"])
        module = listing_of(corpus)
        assert sorted(module.label_columns_of(corpus)) == ["speaker", "text"]
        assert len(module.recording_files(corpus)) in (24, 3)
        assert all(module.listing_files(corpus))
        assert not list(folder.rglob("*.wav"))  # nothing is copied
        found[form] = {split: units_of(run, folder, split) for split in SPLITS}
    names = {form: one["train"].pop("utt_id") for form, one in found.items()}
    assert names[as_parquet] == names[as_lhotse][:] == [path.stem for path, _, _ in rows["train"]]
    for form, one in found.items():
        order = np.argsort(names[form])
        for column in one["train"]:
            expected = found[as_csv]["train"][column]
            assert [one["train"][column][i] for i in order] == [
                expected[i] for i in np.argsort(names[as_csv])
            ]


@pytest.fixture
def talks(tmp_path):
    """Three recordings of two channels and six seconds."""
    for i in range(3):
        both = np.stack([sound(2 * i, 6.0), sound(2 * i + 1, 6.0)], axis=1)
        soundfile.write(tmp_path / f"talk{i}.wav", both, RATE)
    return tmp_path


def write_folder(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return str(folder)


def kaldi_of(talks, **changes):
    """A data folder for each split; the files of train can be changed."""
    folders = {}
    for i, split in enumerate(SPLITS):
        files = {
            "wav_scp": f"r{i} talk{i}.wav\n",
            "segments": f"b-{i} r{i} 2.5 4 1\na-{i} r{i} 0.00 1.25 0\n",
            "text": f"a-{i} HELLO  WORLD\nb-{i}\n",
            "utt2spk": f"a-{i} ann\nb-{i}\tbob\n",
            "utt2lang": f"a-{i} en\nb-{i} de\n",
            "utt2dur": f"a-{i} 1.25\nb-{i} 1.5\n",
        }
        files |= changes if split == "train" else {}
        folders[split] = write_folder(talks / split, **files)
    return KaldiCorpus(**folders, root=str(talks))


def test_segments_of_kaldi(talks):
    corpus = kaldi_of(talks)
    assert prepare(corpus, talks) == {"train": 2, "valid": 2, "test": 2}
    first, second = pq.read_table(talks / ".m/train.parquet").to_pylist()
    assert first == {
        "utt_id": "b-0",
        "path": "talk0.wav#t=2.5,4&channel=1",
        "n_samples": 24_000,
        "sample_rate": RATE,
        "speaker": "bob",
        "text": "",
        "lang": "de",
    }
    assert second["text"] == "HELLO  WORLD"
    assert listing_of(corpus).label_columns_of(corpus) == ["text", "lang", "speaker"]
    assert listing_of(corpus).recording_files(corpus) == [f"talk{i}.wav" for i in range(3)]


def test_kaldiio_reads_the_same_samples(talks):
    kaldiio = pytest.importorskip("kaldiio")
    from speechprompt.audio.reading import read_audio

    for i in range(3):  # kaldiio takes recordings of one channel here
        mono = soundfile.read(talks / f"talk{i}.wav", dtype="int16")[0][:, 0]
        soundfile.write(talks / f"talk{i}.wav", mono, RATE)
    corpus = kaldi_of(
        talks,
        wav_scp=f"r0 {talks}/talk0.wav\n",
        segments="a-0 r0 0 1.25\nb-0 r0 2.5 -1\n",
    )
    for i, split in ((1, "valid"), (2, "test")):
        (talks / split / "segments").write_text(f"a-{i} r{i} 0 1\nb-{i} r{i} 1 2\n")
    prepare(corpus, talks)
    rows = pq.read_table(talks / ".m/train.parquet").to_pylist()
    train = talks / "train"
    with kaldiio.ReadHelper(f"scp:{train}/wav.scp", segments=str(train / "segments")) as reader:
        theirs = {name: samples for name, (_, samples) in reader}
    for row in rows:
        ours = read_audio(talks / row["path"]) * 32768
        assert abs(len(ours) - len(theirs[row["utt_id"]])) <= 1  # they round times down
        n = min(len(ours), len(theirs[row["utt_id"]])) - 1
        np.testing.assert_array_equal(ours[1:n], theirs[row["utt_id"]][1:n])


def test_commands_run_where_they_are_trusted(talks):
    corpus = kaldi_of(talks, wav_scp="r0 cat talk0.wav | cat |\n")
    with pytest.raises(CorpusError, match=r"wav\.scp, line 1: 'r0' is the output of a command"):
        prepare(corpus, talks)
    trusted = corpus.model_copy(update={"trust": True})
    with pytest.raises(CorpusError, match=r"line 1: 'r0' is the output of a command"):
        prepare(trusted, talks)
    assert listing_of(trusted).recording_files(trusted) == ["talk1.wav", "talk2.wav"]
    made = talks / "run/made"
    assert prepare(trusted, talks, made=made)["train"] == 2
    assert (made / "train/r0.wav").read_bytes() == (talks / "talk0.wav").read_bytes()
    path = pq.read_table(talks / ".m/train.parquet")["path"][0].as_py()
    assert path == f"{made}/train/r0.wav#t=2.5,4&channel=1"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat nowhere.wav", "status 1 and 0 bytes .*nowhere"),
        ("exit 3 | cat", r"status 3 and 0 bytes \(no message\)"),
        ("true", "status 0 and 0 bytes"),
    ],
)
def test_commands_that_fail(talks, command, said):
    corpus = kaldi_of(talks, wav_scp=f"r0 {command} |\n").model_copy(update={"trust": True})
    with pytest.raises(CorpusError, match=rf"wav\.scp, line 1: the command ended with {said}"):
        prepare(corpus, talks, made=talks / "made")
    assert not list((talks / "made").rglob("*.wav"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav_scp": ""}, r"wav\.scp: expected recordings, found no line"),
        ({"wav_scp": "r0\n"}, r"wav\.scp, line 1: expected the file of 'r0', found nothing"),
        ({"wav_scp": "r0 a.ark:12\n"}, r"wav\.scp, line 1: a\.ark:12 is in an archive"),
        ({"wav_scp": "r0 a\nr0 b\n"}, r"wav\.scp, line 2: 'r0' is there before, in line 1"),
        ({"segments": "a-0 r9 0 1\n"}, r"segments, line 1: no recording 'r9' in wav\.scp"),
        ({"segments": "a-0 r0 0\n"}, "segments, line 1: expected utterance, .* found 3 words"),
        ({"segments": "a-0 r0 2 1\n"}, "segments, line 1: expected an end after the start 2"),
        ({"segments": "a-0 r0 0 1 A\n"}, "segments, line 1: expected a channel from 0, found 'A'"),
        ({"text": "a-0 X\n"}, "text: no line for utterance 'b-0'"),
        ({"utt2spk": "a-0 X\nc-0 Y\n"}, "utt2spk, line 2: no utterance 'c-0'"),
        ({"utt2units": "a-0 X\n"}, "utt2units: a label column cannot be named 'units'"),
    ],
)
def test_wrong_folders_of_kaldi(talks, files, message):
    with pytest.raises(CorpusError, match=message):
        prepare(kaldi_of(talks, **files), talks)


def test_a_folder_of_kaldi_that_is_not_there(talks):
    corpus = kaldi_of(talks)
    shutil.rmtree(talks / "valid")
    with pytest.raises(CorpusError, match=r"valid/wav\.scp: cannot be read"):
        prepare(corpus, talks)


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
                    custom={"mood": 3, "alignment_of": {"no": "label"}},
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
    from speechprompt.audio.reading import read_audio

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


def cell(number, name=None):
    return {"bytes": wave(number), "path": name}


def wave(number):
    import io

    buffer = io.BytesIO()
    soundfile.write(buffer, sound(number, 1.0), RATE, format="WAV")
    return buffer.getvalue()


def test_columns_of_the_hub(tmp_path, capsys):
    cells = [cell(i) for i in range(4)]
    columns = {
        "split": ["train", "validation", "TEST", "train"],
        "label": pa.array([1, 0, -1, None], pa.int64()),
        "count": [1, 2, 3, 4],
        "speaker": ["ann", None, "bob", "ann"],
        "path": ["a", "b", "c", "d"],
        "vector": [[1.0], [2.0], [], []],
        "start": pa.array([None, 0.25, None, None], pa.float64()),
        "end": pa.array([None, 0.75, 0.5, None], pa.float64()),
    }
    classes = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    (tmp_path / "data").mkdir()
    soundfile.write(tmp_path / "data/b.wav", sound(9, 1.0), RATE)
    cells[3] = {"bytes": None, "path": "b.wav"}
    write_hub(tmp_path / "data/all.parquet", cells, columns, classes)
    corpus = ParquetCorpus(folder=str(tmp_path), split="split")
    assert prepare(corpus, tmp_path) == {"train": 2, "valid": 1, "test": 1}
    assert "columns that are no labels: path, vector" in capsys.readouterr().err
    rows = [
        row
        for split in SPLITS
        for row in pq.read_table(tmp_path / f".m/{split}.parquet").to_pylist()
    ]
    name = "data/all"
    assert [(row["utt_id"], row["path"], row["n_samples"]) for row in rows] == [
        (f"{name}-000000", f"{name}.parquet#column=audio&row=0", RATE),
        ("b", "data/b.wav", RATE),
        (
            "data/all-000001-0000250-0000750",
            "data/all.parquet#t=0.25,0.75&column=audio&row=1",
            8000,
        ),
        ("data/all-000002-0000000-0000500", "data/all.parquet#t=0,0.5&column=audio&row=2", 8000),
    ]
    assert [row["label"] for row in rows] == ["yes", "", "no", ""]
    assert [row["count"] for row in rows] == ["1", "4", "2", "3"]
    assert [row["speaker"] for row in rows] == ["ann", "ann", None, "bob"]
    assert listing_of(corpus).label_columns_of(corpus) == ["label", "count", "speaker"]


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002", "train"),
        ("data/train.clean.100-00000-of-00002", "train"),
        ("validation/0000", "valid"),
        ("dev_other", "valid"),
        ("my_test", "test"),
        ("training/eval", "test"),
    ],
)
def test_splits_by_name(tmp_path, name, split):
    from speechprompt.corpora.parquet import _split_of

    assert _split_of(f"{name}.parquet", tmp_path) == split


@pytest.mark.parametrize("name", ["latest", "trainer", "0000", "attest/contrain"])
def test_names_without_a_split(tmp_path, name):
    write_hub(tmp_path / f"{name}.parquet", [cell(0)], {"label": ["x"]})
    with pytest.raises(CorpusError, match=r"expected train, valid .* in the name of the file"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)


@pytest.mark.parametrize(
    ("settings", "columns", "message"),
    [
        ({}, {"label": pa.array([7], pa.int64())}, "row 0: expected a class 0 to 1 as label"),
        ({"split": "part"}, {"label": [1]}, r"expected the column 'part' \(split\), found audio"),
        ({"speaker": "who"}, {"label": [1]}, r"expected the column 'who' \(speaker\)"),
        ({"audio": "speech"}, {"label": [1]}, "of bytes and path named 'speech'.*found 0"),
        ({}, {"speech": pa.array([None], HUB)}, "found 2 among audio, speech; name it as audio"),
        ({"split": "part"}, {"part": ["x"]}, "row 0: expected split train, valid or test, found"),
        ({}, {"start": [2.0], "end": [1.0]}, "row 0: expected an end after the start 2, found 1"),
    ],
)
def test_wrong_data_sets(tmp_path, settings, columns, message):
    classes = {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}
    write_hub(tmp_path / "train.parquet", [cell(0)], columns, classes)
    with pytest.raises(CorpusError, match=rf"train\.parquet.*{message}"):
        prepare(ParquetCorpus(folder=str(tmp_path), **settings), tmp_path)


def test_files_that_do_not_belong_together(tmp_path):
    with pytest.raises(CorpusError, match="expected Parquet files in or below this folder"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)
    write_hub(tmp_path / "train.parquet", [cell(0)], {"label": ["x"]})
    write_hub(tmp_path / "valid.parquet", [cell(1)], {"mood": ["x"]})
    with pytest.raises(CorpusError, match=r"valid\.parquet: expected the columns label as in"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)
    write_hub(tmp_path / "valid.parquet", [{"bytes": None, "path": None}], {"label": ["x"]})
    with pytest.raises(CorpusError, match=r"valid\.parquet, row 0: column 'audio' has neither"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)
    (tmp_path / "valid.parquet").write_text("nothing of the kind")
    with pytest.raises(CorpusError, match=r"valid\.parquet: cannot be read as Parquet"):
        prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)


def test_metadata_of_the_hub_that_are_damaged(tmp_path):
    table = pa.table({"audio": pa.array([cell(0)], HUB)})
    for text in ("{", "[]", '{"info": {"features": {"x": {"_type": "ClassLabel"}}}}'):
        pq.write_table(
            table.replace_schema_metadata({"huggingface": text}), tmp_path / "train.parquet"
        )
        with pytest.raises(CorpusError, match=r"train\.parquet: cannot read its metadata"):
            prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)


def test_the_hubs_library_writes_what_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        audio=datasets.Audio(), label=datasets.ClassLabel(names=["no", "yes"])
    )
    for i, split in enumerate(SPLITS):
        rows = {"audio": [cell(i, f"{split}.wav")], "label": [i % 2]}
        # Not from_dict, which would encode audio that is encoded already.
        table = pa.table(rows).cast(features.arrow_schema)
        data = datasets.Dataset(table, datasets.DatasetInfo(features=features))
        data.to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    prepare(ParquetCorpus(folder=str(tmp_path)), tmp_path)
    assert pq.read_table(tmp_path / ".m/valid.parquet")["label"].to_pylist() == ["yes"]
