"""Splits of a table by speaker, by label and in folds."""

from collections import Counter

import numpy as np
import pytest

from speechprompt.cli import main
from speechprompt.corpora.splitting import split
from speechprompt.corpora.table import read_recordings, read_table
from speechprompt.errors import ConfigError, CorpusError


def rows_of(path):
    return [row for _, row in read_table(path, ["path", "split"])[1]]


@pytest.fixture
def table(tmp_path):
    """Three hundred rows by 30 speakers of uneven sizes, with a common and a rare label."""
    generator = np.random.default_rng(0)
    lines = ["path,speaker,label,text"]
    for i in range(300):
        speaker = f"s{int(30 * generator.random() ** 2)}"
        label = "rare" if i % 10 == 0 else "common"
        lines.append(f'wavs/{i}.wav,{speaker},{label},"one, two {i}"')
    path = tmp_path / "all.csv"
    path.write_text("\n".join(lines))
    return path


def test_shares_are_met(table):
    out = table.with_name("t.csv")
    assert split(table, out, valid=0.1, test=0.2, seed=3) == {"train": 210, "valid": 30, "test": 60}
    rows = rows_of(out)
    assert [{**row, "split": ""} for row in rows] == [
        {**row, "split": ""} for _, row in read_table(table, [])[1]
    ]
    assert len(read_recordings(out)[0]) == 300


def test_a_seed_gives_one_split(table):
    outs = [table.with_name(f"{i}.csv") for i in range(3)]
    for out, seed in zip(outs, (1, 1, 2), strict=True):
        split(table, out, seed=seed)
    assert outs[0].read_bytes() == outs[1].read_bytes() != outs[2].read_bytes()
    split(outs[0], outs[2], seed=1)  # a split that is there is replaced
    assert outs[0].read_bytes() == outs[2].read_bytes()


def test_no_speaker_is_in_two_splits(table, capsys):
    out = table.with_name("t.csv")
    counts = split(table, out, disjoint="speaker", stratify="label")
    assert 0.7 < counts["train"] / 300 < 0.9
    assert min(counts["valid"], counts["test"]) > 20
    found = {}
    for row in rows_of(out):
        found.setdefault(row["speaker"], set()).add(row["split"])
    assert set(map(len, found.values())) == {1}
    assert "speaker" in capsys.readouterr().err


def test_every_label_has_its_share(table):
    out = table.with_name("t.csv")
    split(table, out, stratify="label")
    counts = Counter((row["split"], row["label"]) for row in rows_of(out))
    assert [counts[name, "rare"] for name in ("train", "valid", "test")] == [24, 3, 3]
    assert [counts[name, "common"] for name in ("train", "valid", "test")] == [216, 27, 27]


def test_each_row_is_tested_in_one_fold(table):
    out = table.with_name("fold.csv")
    split(table, out, disjoint="speaker", folds=5, valid=0.1)
    tested = Counter()
    for number in range(1, 6):
        rows = rows_of(out.with_name(f"fold-{number}.csv"))
        assert len(rows) == 300
        tested_speakers = {row["speaker"] for row in rows if row["split"] == "test"}
        assert not tested_speakers & {row["speaker"] for row in rows if row["split"] == "train"}
        assert {row["split"] for row in rows} == {"train", "valid", "test"}
        tests = [row["path"] for row in rows if row["split"] == "test"]
        assert 40 <= len(tests) <= 80
        tested.update(tests)
    assert len(tested) == 300
    assert set(tested.values()) == {1}


def test_parts_of_a_recording_stay_together(tmp_path):
    lines = ["path,start,end,label"]
    lines += [f"talk{i % 10}.wav,{i},{i + 1},x" for i in range(100)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    split(tmp_path / "t.csv", tmp_path / "s.csv")
    found = {(row["path"], row["split"]) for row in rows_of(tmp_path / "s.csv")}
    assert len(found) == 10


def test_parts_in_paths_stay_together(tmp_path):
    lines = [f'"talk{i % 10}.wav#t={i},{i + 1}&channel={i % 2}",x' for i in range(100)]
    lines += [f"t.parquet#column=audio&row={i},x" for i in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *lines]))
    split(tmp_path / "t.csv", tmp_path / "s.csv")
    found = {(row["path"].split("#t=")[0], row["split"]) for row in rows_of(tmp_path / "s.csv")}
    assert len(found) == 50
    assert len({split for path, split in found if "parquet" in path}) > 1


def test_a_speaker_in_two_unicode_forms_is_one(tmp_path):
    names = ["Jos\u00e9", "Jose\u0301", "Ana", "Bo", "Kim"]
    lines = [f"{i}.wav,{names[i % 5]}" for i in range(50)]
    (tmp_path / "t.csv").write_text("\n".join(["path,speaker", *lines]))
    split(tmp_path / "t.csv", tmp_path / "s.csv", disjoint="speaker", valid=0, test=0.3)
    split_of = {row["speaker"]: row["split"] for row in rows_of(tmp_path / "s.csv")}
    assert split_of[names[0]] == split_of[names[1]]
    assert len(split_of) == 5


def test_paths_of_one_recording_stay_together(tmp_path):
    lines = ["path,start,end,label"]
    lines += [f"{'./' * (i // 10)}talk{i % 10}.wav,{i},{i + 1},x" for i in range(20)]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    split(tmp_path / "t.csv", tmp_path / "s.csv")
    split_of = {row["path"]: row["split"] for row in rows_of(tmp_path / "s.csv")}
    for i in range(10):
        assert split_of[f"talk{i}.wav"] == split_of[f"./talk{i}.wav"]


def test_paths_of_a_table_behind_a_link_lead_to_the_same_files(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "real/deep").mkdir(parents=True)
    (tmp_path / "out").symlink_to("real/deep")
    (tmp_path / "data/t.csv").write_text("path\na.wav\nb.wav\nc.wav\n")
    (tmp_path / "data/a.wav").touch()
    split(tmp_path / "data/t.csv", tmp_path / "out/t.csv")
    assert (tmp_path / "out" / rows_of(tmp_path / "out/t.csv")[0]["path"]).exists()


@pytest.mark.parametrize(("ending", "mark"), [("csv", ","), ("tsv", "\t")])
def test_paths_of_a_table_elsewhere_lead_to_the_same_files(table, tmp_path, ending, mark):
    out = tmp_path / f"splits/t.{ending}"
    split(table, out)
    header = out.read_text().splitlines()[0]
    assert header.split(mark) == ["path", "speaker", "label", "text", "split"]
    assert rows_of(out)[0]["path"] == "../wavs/0.wav"
    assert rows_of(out)[0]["text"] == "one, two 0"


def test_a_column_that_is_there_twice_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("path,label,label\na,x,1\n")
    with pytest.raises(CorpusError, match="'label' is there more than once"):
        split(tmp_path / "a.csv", tmp_path / "b.csv")


def test_by_hand(table, capsys):
    out = table.with_name("t.csv")
    words = ["split", str(table), "--out", str(out), "--disjoint", "speaker", "--test", "0.3"]
    assert main([*words, "--seed", "2"]) == 0
    assert "test has" in capsys.readouterr().err
    assert main([*words, "--valid", "0.8"]) == 1
    assert "expected valid and test below 1 together" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"folds": 1}, ConfigError, "folds: expected at least 2, found 1"),
        ({"test": 1.0}, ConfigError, "expected valid and test below 1"),
        ({"test": float("nan")}, ConfigError, "expected valid and test below 1"),
        ({"disjoint": "who"}, CorpusError, "expected the column 'who', found path, speaker"),
        ({"stratify": "mood"}, CorpusError, r"a\.csv, line 3: column 'mood' is empty"),
        ({"disjoint": "speaker"}, CorpusError, "no row in split 'valid'; .* values of 'speaker'"),
    ],
)
def test_what_cannot_be_split(tmp_path, settings, error, message):
    (tmp_path / "a.csv").write_text("path,speaker,mood\na,x,1\nb,x,\nc,x,1\n")
    with pytest.raises(error, match=message):
        split(tmp_path / "a.csv", tmp_path / "b.csv", **settings)
    assert not (tmp_path / "b.csv").exists()


def test_a_label_that_train_lacks_is_told(tmp_path, capsys):
    (tmp_path / "a.csv").write_text("path,who,mood\na,x,1\nb,x,1\nc,x,1\nd,y,2\n")
    out = tmp_path / "b.csv"
    assert split(tmp_path / "a.csv", out, disjoint="who", valid=0, test=0.3)["test"] == 1
    assert "is never" not in capsys.readouterr().err
    split(tmp_path / "a.csv", out, disjoint="who", stratify="mood", valid=0, test=0.3)
    assert "mood in train is never 2" in capsys.readouterr().err
