"""Recordings as Kaldi, lhotse and the hub list them have the same units."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from foreign import SPLITS, prepare, write_hub

from speechprompt.config.corpora import CsvCorpus, KaldiCorpus, LhotseCorpus, ParquetCorpus
from speechprompt.corpora.registry import listing_of
from speechprompt.corpora.validate import validate_corpus
from speechprompt.encoders import load_encoder
from speechprompt.units.extraction import extract_features
from speechprompt.units.quantization import quantize_units

DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


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
