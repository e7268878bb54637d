from __future__ import annotations

import unicodedata

import pyarrow.parquet as pq
import pytest

from speechprompt.cli import main
from speechprompt.config.corpora import CsvCorpus
from speechprompt.corpora.manifest import Listing, write_manifests
from speechprompt.corpora.prepare import prepare_corpus
from speechprompt.corpora.table import check_filled, read_recordings
from speechprompt.corpora.utterances import listed_utterances
from speechprompt.corpora.validate import validate_corpus
from speechprompt.errors import CorpusError

PATHS = ("a/1.wav", "a/2.wav", "b/3.wav", "b/4.wav")
ROWS = (
    "path,split,speaker,emotion,topic\n"
    "a/1.wav,train,ann,calm,news\n"
    'a/2.wav,train,,angry,"news, local"\n'
    "b/3.wav,valid,bob,calm,news\n"
    "b/4.wav,test,bob,angry,sport\n"
)


def put(folder, text, name="table.csv", encoding="utf-8"):
    path = folder / name
    path.write_text(text, encoding=encoding)
    return path


def test_a_table_is_prepared_by_hand_as_in_the_pipeline(tmp_path, record):
    record(tmp_path, *PATHS)
    table = put(tmp_path, ROWS)
    prepare_corpus(CsvCorpus(table=str(table)), tmp_path, tmp_path / "piped", seed=1)
    command = ["prepare-csv", "--table", str(table), "--out", str(tmp_path / "m")]
    assert main([*command, "--valid-fraction", "0.2", "--max-rejected", "0", "--seed", "1"]) == 0
    for split in ("train", "valid", "test"):
        here, piped = (tmp_path / name / f"{split}.parquet" for name in ("m", "piped"))
        assert here.read_bytes() == piped.read_bytes()


def test_a_wrong_share_of_a_table_names_its_option(tmp_path, capsys):
    files = ["--table", str(put(tmp_path, ROWS)), "--out", str(tmp_path / "m")]
    assert main(["prepare-csv", *files, "--valid-fraction", "2"]) == 1
    assert "valid_fraction" in capsys.readouterr().err


def test_labels_are_all_columns_but_the_fixed_ones(tmp_path, record):
    record(tmp_path, *PATHS)
    table = put(tmp_path, ROWS)
    settings = CsvCorpus(table=str(table))
    counts = prepare_corpus(settings, tmp_path, tmp_path / "m", seed=0)
    assert counts == {
        "train": 2,
        "valid": 1,
        "test": 1,
    }
    rows = pq.read_table(tmp_path / "m" / "train.parquet").to_pylist()
    assert [row["speaker"] for row in rows] == ["ann", None]
    assert rows[1]["emotion"] == "angry"
    assert rows[1]["topic"] == "news, local"
    assert rows[1]["utt_id"] == "a/2"


@pytest.mark.parametrize(
    ("name", "encoding", "mark"),
    [
        ("t.csv", "utf-8-sig", ","),
        ("t.csv", "utf-8", ";"),
        ("t.tsv", "utf-8", "\t"),
        ("t.csv", "utf-8-sig", ";"),
        ("t.csv", "utf-8", "\t"),
        ("t.tsv", "utf-8", ","),
        ("t.txt", "utf-8-sig", "\t"),
        ("t.csv", "utf-16", ","),
        ("t.csv", "utf-16", ";"),
        ("t.tsv", "utf-16", "\t"),
    ],
)
def test_spreadsheet_dialects(tmp_path, name, encoding, mark):
    text = "path,split,mood\r\nä 1.wav,train,fröhlich\r\n\r\nb.wav,test,ernst\r\n"
    recordings, labels = read_recordings(put(tmp_path, text.replace(",", mark), name, encoding))
    assert labels == ["mood"]
    assert [(item.path, item.split, item.labels["mood"]) for item in recordings] == [
        ("ä 1.wav", "train", "fröhlich"),
        ("b.wav", "test", "ernst"),
    ]


@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_the_header_shows_what_separates_the_cells(tmp_path, mark):
    others = [other for other in ",;" if other != mark]
    name = f"how{others[0]} loud" if mark == "\t" else f'"how{others[0]} loud"'
    text = f"path{mark}split{mark}{name}\na.wav{mark}train{mark}very\n"
    recordings, labels = read_recordings(put(tmp_path, text))
    assert labels == [f"how{others[0]} loud"]
    assert recordings[0].labels == {labels[0]: "very"}


@pytest.mark.parametrize("end", [b"a", b"\x00\xd8"])
def test_utf_16_that_is_cut(tmp_path, end):
    path = tmp_path / "table.csv"
    path.write_bytes("path,split\na.wav,train\n".encode("utf-16") + end)
    with pytest.raises(CorpusError, match=r"table\.csv: cannot be read as UTF-16 CSV"):
        read_recordings(path)


def test_absolute_paths_and_any_format(tmp_path, record):
    record(tmp_path / "elsewhere", "1.wav", "2.flac", "3.ogg")
    rows = [
        f"{tmp_path / 'elsewhere' / name},{split},x"
        for name, split in (("1.wav", "train"), ("2.flac", "valid"), ("3.ogg", "test"))
    ]
    table = put(tmp_path, "path,split,label\n" + "\n".join(rows))
    settings = CsvCorpus(table=str(table))
    counts = prepare_corpus(settings, tmp_path, tmp_path / "m", seed=0)
    assert counts == {
        "train": 1,
        "valid": 1,
        "test": 1,
    }
    test = pq.read_table(tmp_path / "m" / "test.parquet").to_pylist()
    assert test[0]["path"] == str(tmp_path / "elsewhere" / "3.ogg")


def test_chosen_labels_let_other_columns_be_empty(tmp_path, record):
    record(tmp_path, *PATHS)
    table = put(tmp_path, ROWS.replace("sport", ""))
    listing = Listing(*read_recordings(table, ["emotion"]), 0.1)
    write_manifests(listing, tmp_path, tmp_path / "m", seed=0)
    assert pq.read_schema(tmp_path / "m" / "test.parquet").names[-2:] == ["speaker", "emotion"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected the column 'path', found an empty file"),
        ("path,split,label\n", "no rows"),
        ("file,split,label\nx.wav,train,a\n", "expected the column 'path', found file, split"),
        ("path,label\nx.wav,a\n", "expected the column 'split', found path, label"),
        ("path,split,a,a\nx.wav,train,1,2\n", "'a' is there more than once"),
        ("path,split,units\nx.wav,train,1\n", "cannot be named 'units'"),
        ("path,split,label,\nx.wav,train,1,\n", "a column has no name"),
        (
            "path,split,label\nx.wav,train,a\ny.wav,dev,a\n",
            "line 3: expected split train, valid or test, found 'dev'",
        ),
        (
            'path,split,label\nx.wav,train,a\ny.wav,train,"so" she said\n',
            "line 3: cannot be read as CSV",
        ),
        (
            'path,split,label\nx.wav,train,"to be\ny.wav,train,or\nz.wav,test,not"\n',
            "line 2: a cell goes on in the next line",
        ),
        ('path,split,label\nx.wav,train,a\ny.wav,train,"to be\nz.wav,test,a\n', "line 3"),
        ("path,split,label\n,train,a\n", "line 2: column 'path' is empty"),
        ("path,split,label\nx.wav,train\n", "line 2: expected 3 cells, found 2"),
        ("path,split,label\nx.wav,train,a\0\n", "line 2: a cell has a zero byte"),
        (
            "path,split,label\nx.wav,train,a\ny.wav,train,a\nx.wav,test,a\n",
            r"line 4: x\.wav is listed before, in line 2",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, text, message):
    with pytest.raises(CorpusError, match=message) as caught:
        read_recordings(put(tmp_path, text))
    assert "table.csv" in str(caught.value)


def test_quotation_marks_of_a_tsv_are_text(tmp_path):
    texts = ["plain", '"to be', "or not", 'to be"', '5" disk', '"all"']
    rows = [f"{i}.wav\ttrain\t{text}\n" for i, text in enumerate(texts)]
    table = put(tmp_path, "path\tsplit\ttext\n" + "".join(rows), "t.tsv")
    recordings, _ = read_recordings(table)
    assert [item.labels["text"] for item in recordings] == texts
    with pytest.raises(CorpusError, match="line 3: expected 3 cells, found 2"):
        read_recordings(put(tmp_path, "path\tsplit\ttext\na\ttrain\tx\nb\ttrain\n", "t.tsv"))


def test_a_file_is_found_whatever_its_unicode_form(tmp_path, record):
    composed, apart = (unicodedata.normalize(form, "café.wav") for form in ("NFC", "NFD"))
    record(tmp_path, apart, *PATHS)
    table = put(tmp_path, ROWS + f"{composed},train,,calm,news\n")
    prepare_corpus(CsvCorpus(table=str(table)), tmp_path, tmp_path / "m", seed=0)
    assert apart in pq.read_table(tmp_path / "m/train.parquet")["path"].to_pylist()
    assert tmp_path / apart in listed_utterances([table])  # as `predict` reads it


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("", "line 3: column 'path' is empty"),
        (".", "line 3: expected a recording, found the folder ."),
        ("more", "line 3: expected a recording, found the folder more"),
    ],
)
def test_a_table_to_answer_names_files_alone(tmp_path, record, path, message):
    record(tmp_path, "a.wav", "unlisted.wav", "more/b.wav")
    table = put(tmp_path, f"path,start\na.wav,\n{path},0.1\n")
    with pytest.raises(CorpusError, match=message):
        list(listed_utterances([table]))
    assert list(listed_utterances([put(tmp_path, "path\na.wav\n")])) == [tmp_path / "a.wav"]


def test_only_columns_in_use_are_filled(tmp_path, record, capsys):
    record(tmp_path, *PATHS)
    table = put(tmp_path, ROWS.replace("sport", ""))
    prepare_corpus(CsvCorpus(table=str(table)), tmp_path, tmp_path / "m", seed=0)
    assert "column 'topic' is empty in 1 of 4 rows" in capsys.readouterr().err
    validate_corpus(tmp_path / "m", label_columns=["emotion"])
    check_filled(table, ["emotion"])
    for wanted in (["topic"], ["emotion", "topic"]):
        with pytest.raises(CorpusError, match="line 5: column 'topic' is empty"):
            check_filled(table, wanted)
        with pytest.raises(CorpusError, match="line 5: column 'topic' is empty"):
            read_recordings(table, wanted)
    with pytest.raises(CorpusError, match="column 'topic' is empty"):
        validate_corpus(tmp_path / "m", label_columns=["topic"])


def test_missing_label_column_of_a_task(tmp_path):
    with pytest.raises(CorpusError, match="expected the column 'intent', found path, split, sp"):
        read_recordings(put(tmp_path, ROWS), ["intent"])


def test_unreadable_tables(tmp_path):
    with pytest.raises(CorpusError, match=r"nowhere\.csv: cannot be read"):
        read_recordings(tmp_path / "nowhere.csv")
    with pytest.raises(CorpusError, match=r"cannot be read as UTF-8 CSV \(line 1: .* 0xe4"):
        read_recordings(put(tmp_path, "path,split,läbel\n", encoding="latin-1"))
