"""Units in the forms of other programs: read, refused and written."""

import json

import pyarrow.parquet as pq
import pytest

from speechprompt.cli import main
from speechprompt.config.corpora import UnitsCorpus
from speechprompt.errors import ArtefactError, ConfigError, CorpusError
from speechprompt.units.comparison import compare_units
from speechprompt.units.exporting import export_units
from speechprompt.units.text_corpus import prepare_units
from speechprompt.units.text_forms import collapse, read_lines
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units

ROWS = [("x/a", [3, 0, 3], [1, 2, 3]), ("x/b", [12, 49], [1, 1])]


def read(path, n_units=100):
    return list(read_lines(path, n_units, CorpusError))


@pytest.mark.parametrize(
    ("line", "name", "units", "durations", "labels"),
    [
        ("a.wav|3 0 3", "a.wav", [3, 0, 3], None, None),
        ("a.wav|3 0 3|yes", "a.wav", [3, 0, 3], None, ("yes",)),
        ("3 0 3 <s> up down", "", [3, 0, 3], None, ("up", "down")),
        ("3 0 3 <s>", "", [3, 0, 3], None, ()),
        ("x/a.wav\t3 0 3", "x/a.wav", [3, 0, 3], None, None),
        ("3 0 3", "", [3, 0, 3], None, None),
        (
            "{'audio': \"it's.wav\", 'hubert': '3 3 0', 'duration': 0.06}",
            "it's.wav",
            [3, 3, 0],
            [1, 1, 1],
            None,
        ),
        ("{'audio': 'a', 'vqvae256': '7', 'duration': 1}", "a", [7], [1], None),
        (
            '{"units": [3, 0], "duration": [1, 4], "file_name": "a.flac"}',
            "a.flac",
            [3, 0],
            [1, 4],
            None,
        ),
        ('{"units": [3, 0]}', "", [3, 0], None, None),
        ('{"audio_repr": "<Un3><Un49>", "file_name": "b"}', "b", [3, 49], None, None),
        ("<Un3><Un49>", "", [3, 49], None, None),
    ],
)
def test_every_form(tmp_path, line, name, units, durations, labels):
    (tmp_path / "units.txt").write_text(f"\n{line}\n")
    (found,) = read(tmp_path / "units.txt")
    assert (found.number, found.name, found.units) == (2, name, units)
    assert (found.durations, found.labels) == (durations, labels)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a|3 100", "expected units 0 to 99 of the dictionary, found '100'"),
        ("3 100 <s> x", "found '100'"),
        ("a\t3 -1", "found '-1'"),
        ("<Un3><Un100>", "found '100'"),
        ('{"units": [3, 100]}', "found '100'"),
        ('{"units": [3, true]}', "found 'True'"),
        ('{"units": [3, 0.5]}', "found '0.5'"),
        ('{"units": []}', "no units"),
        ("{'audio': 'a', 'hubert': '3 100'}", "found '100'"),
        ("{'audio': 'a', 'hubert': ''}", "no units"),
        ("{'audio': 'a', 'mel': '3'}", "expected the key audio_repr, .* found audio, mel"),
        ("{'audio': open('x')}", "expected an object of JSON or a literal of Python"),
        ("{'audio'", "expected an object of JSON or a literal of Python"),
        ("{'a', 'b'}", "or an object with units"),
        ('{"units": [3, 0], "duration": [1]}', "expected 2 durations of a frame and more, found 1"),
        ('{"units": [3, 0], "duration": [1, 0]}', "expected 2 durations .* found 2 from 0"),
        ('{"units": [3], "duration": [1.5]}', "expected durations as .* frames .* found '1.5'"),
        ('{"units": [3], "duration": [1000000000]}', "frames below 1,000,000,000, found '10+'"),
        ("<Un3>12", "expected tokens such as"),
        ('{"audio_repr": "<Un3><S>"}', "expected tokens such as"),
        ("a|b|c|d", "expected 'units <s> labels' or 'file|units|labels'"),
        ("1 <s> 2 <s> 3", "expected 'units <s> labels'"),
        ("see how they run", "expected 'units <s> labels'"),
    ],
)
def test_what_is_no_line_of_units(tmp_path, line, message):
    (tmp_path / "units.txt").write_text(f"a|1\n{line}\n")
    with pytest.raises(CorpusError, match=rf"units\.txt:2: .*{message}"):
        read(tmp_path / "units.txt")


def test_durations_of_textlesslib(tmp_path):
    (tmp_path / "t.units").write_text("a\t3 0\nb\t7\n")
    (tmp_path / "t.durations").write_text("a\t2 5\nb\t1\n")
    assert [line.durations for line in read(tmp_path / "t.units")] == [[2, 5], [1]]
    for text, message in (
        ("a\t2 5\n", r"t\.durations: expected a line for each of the 2"),
        ("a\t2 5\nc\t1\n", r"t\.units:2: the durations in .* are of 'c'"),
        ("a\t2\nb\t1\n", r"t\.units:1: expected 2 durations"),
        ("a\t2 x\nb\t1\n", r"t\.units:1: expected durations as .*, found 'x'"),
    ):
        (tmp_path / "t.durations").write_text(text)
        with pytest.raises(CorpusError, match=message):
            read(tmp_path / "t.units")


def test_collapsed_durations_sum_to_the_frames():
    assert collapse([3, 3, 0, 3], None) == ([3, 0, 3], [2, 1, 1])
    assert collapse([3, 3, 0], [1, 2, 4]) == ([3, 0], [3, 4])
    assert collapse([], None) == ([], [])


@pytest.fixture
def index(tmp_path):
    """Units of two utterances as the pipeline has them."""
    part = tmp_path / "units/part-00000-of-00001.parquet"
    columns = {
        "utt_id": [name for name, _, _ in ROWS],
        "path": [f"{name}.wav" for name, _, _ in ROWS],
        "units": [units for _, units, _ in ROWS],
        "durations": [durations for _, _, durations in ROWS],
        "label": ["up", "down"],
        "text": ["go up", "sit"],
    }
    about = UnitsMetadata("k", "0" * 64, 100, dedup=True, frame_rate=50.0)
    write_units(part, columns, label_columns=["label", "text"], metadata=about)
    gather_units([part], part.with_name("index.json"), corpus="c", split="valid")
    return part.with_name("index.json")


@pytest.mark.parametrize("form", ["gslm", "textless", "resynthesis", "slamkit", "tokens"])
def test_what_is_exported_is_read_again(index, tmp_path, form, capsys):
    out = tmp_path / f"out.{'units' if form == 'textless' else 'txt'}"
    assert main(["export-units", str(index), "--form", form, "--out", str(out)]) == 0
    found = read(out)
    assert [line.name.removesuffix(".wav") for line in found] == ["x/a", "x/b"]
    for line, (_, units, durations) in zip(found, ROWS, strict=True):
        if form == "resynthesis":
            assert collapse(line.units, None) == (units, durations)
        else:
            assert line.units == units
            assert line.durations == (durations if form in ("textless", "slamkit") else None)
    agreed = compare_units(index, out)
    assert agreed.n_compared == 2
    assert agreed.n_equal == (1 if form == "resynthesis" else 2)


def test_exports_do_not_share_a_file_of_durations(index, tmp_path):
    for name in ("a.train", "a.test", "a.durations", "a.units"):
        export_units(index, tmp_path / name, form="textless")
    written = {f"a.{name}.durations" for name in ("train", "test", "durations")} | {"a.durations"}
    assert {path.name for path in tmp_path.glob("*.durations")} == written


def test_a_label_does_not_take_the_place_of_durations(tmp_path):
    columns = {"utt_id": ["a"], "path": ["a.wav"], "units": [[1, 2]], "durations": [[3, 4]]}
    about = UnitsMetadata("k", "0" * 64, 100, dedup=True, frame_rate=50.0)
    part = tmp_path / "part.parquet"
    write_units(part, columns | {"duration": ["x"]}, label_columns=["duration"], metadata=about)
    gather_units([part], tmp_path / "index.json", corpus="c", split="train")
    with pytest.raises(CorpusError, match="'duration': a label of this name"):
        export_units(tmp_path / "index.json", tmp_path / "out", form="slamkit")
    assert not (tmp_path / "out").exists()


def test_exports_are_the_other_programs_own_lines(index, tmp_path):
    lines = {}
    for form in ("gslm", "textless", "resynthesis", "slamkit", "tokens"):
        export_units(index, tmp_path / form, form=form, labels=["text"])
        lines[form] = (tmp_path / form).read_text().splitlines()[0]
    assert lines["gslm"] == "x/a|3 0 3"
    assert lines["textless"] == "x/a\t3 0 3"
    assert lines["resynthesis"] == (
        "{'audio': 'x/a.wav', 'hubert': '3 0 0 3 3 3', 'duration': 0.12}"
    )
    assert json.loads(lines["slamkit"]) == {
        "file_name": "x/a.wav",
        "units": [3, 0, 3],
        "duration": [1, 2, 3],
        "text": "go up",
    }
    assert json.loads(lines["tokens"])["audio_repr"] == "<Un3><Un0><Un3>"
    assert (tmp_path / "textless.durations").read_text() == "x/a\t1 2 3\nx/b\t1 1\n"


def test_fairseq_takes_labels_of_one_word(index, tmp_path):
    export_units(index, tmp_path / "out", form="fairseq", labels=["label"])
    assert (tmp_path / "out").read_text() == "3 0 3 <s> up\n12 49 <s> down\n"
    with pytest.raises(CorpusError, match=r"'x/a': expected one word as 'text' .* found 'go up'"):
        export_units(index, tmp_path / "no", form="fairseq")
    assert not (tmp_path / "no").exists()


def test_what_cannot_be_exported(index, tmp_path):
    with pytest.raises(ConfigError, match=r"form: expected gslm, fairseq, .* found 'csv'"):
        export_units(index, tmp_path / "no", form="csv")
    with pytest.raises(ConfigError, match="labels: expected label, text, found 'mood'"):
        export_units(index, tmp_path / "no", labels=["mood"])
    part = index.with_name("part-00000-of-00001.parquet")
    columns = {"utt_id": ["a|b\tc"], "units": [[1]]}
    about = UnitsMetadata("k", "0" * 64, 100, dedup=True)
    write_units(part, columns, label_columns=[], metadata=about)
    gather_units([part], index, corpus="c", split="valid")
    for form in ("gslm", "textless"):
        with pytest.raises(CorpusError, match="cannot be written in this form"):
            export_units(index, tmp_path / "no", form=form)
    with pytest.raises(ArtefactError, match="has no durations, from which frames are made"):
        export_units(index, tmp_path / "no", form="resynthesis")
    assert not (tmp_path / "no").exists()


@pytest.fixture
def prepare(tmp_path):
    """Prepare all splits of one file of units; return their rows."""

    def run(lines, table=None, **settings):
        (tmp_path / "dict").write_text("".join(f"{unit} 1\n" for unit in range(100)))
        (tmp_path / "units.txt").write_text("".join(f"{line}\n" for line in lines))
        if table is not None:
            (tmp_path / "labels.tsv").write_text(table)
            settings["table"] = str(tmp_path / "labels.tsv")
        corpus = UnitsCorpus(codebook="toy", train=str(tmp_path / "units.txt"), **settings)
        found = {}
        for split in ("train", corpus.dev_split, *corpus.scored_splits):
            out = tmp_path / f"{split}.parquet"
            prepare_units(split, out, corpus, dictionary=tmp_path / "dict")
            found[split] = pq.read_table(out).to_pylist()
        return found

    return run


def frames_of(count):
    return [
        f"{{'audio': 'u{i}.wav', 'hubert': '{i} {i} {i + 1}', 'duration': 0.06}}"
        for i in range(count)
    ]


def test_labels_from_a_table_and_splits_from_train(prepare, capsys):
    table = "utt_id\tspeaker\ttext\n" + "".join(f"u{i}\ts{i % 4}\tsay {i}\n" for i in range(39))
    found = prepare(
        frames_of(40), table, columns=["text", "speaker"], collapse=True, valid_fraction=0.3
    )
    assert "not in" in capsys.readouterr().err
    assert {split: len(rows) > 0 for split, rows in found.items()} == dict.fromkeys(found, True)
    rows = [row for part in found.values() for row in part]
    assert len({row["utt_id"] for row in rows}) == len(rows) == 39
    first = next(row for row in rows if row["utt_id"] == "u3.wav")
    assert first == {
        "utt_id": "u3.wav",
        "path": None,
        "units": [3, 4],
        "durations": [2, 1],
        "n_frames": 3,
        "speaker": "s3",
        "text": "say 3",
    }


def test_splits_share_no_speaker_where_that_is_asked(prepare):
    table = "utt_id\tspeaker\n" + "".join(f"u{i}\ts{i % 13}\n" for i in range(80))
    found = prepare(
        frames_of(80),
        table,
        columns=["speaker"],
        disjoint="speaker",
        valid_fraction=0.3,
        dev_fraction=0.3,
    )
    speakers = [{row["speaker"] for row in rows} for rows in found.values()]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 13
    assert found["train"][0]["units"][0] == found["train"][0]["units"][1]  # not collapsed


def test_fields_of_an_object_are_labels(prepare):
    lines = [
        json.dumps({"units": [i, 7], "duration": [1, 2], "file_name": f"{i}", "mood": "a"})
        for i in range(30)
    ]
    found = prepare(lines, columns=["mood"], dev_fraction=0.2, valid_fraction=0.2)
    assert found["train"][0]["mood"] == "a"
    assert found["train"][0]["durations"] == [1, 2]


def test_numbers_are_labels_too(prepare):
    labels = (3, 0, 2.5, True, "x")
    lines = [json.dumps({"file_name": "a", "units": [i], "label": x}) for i, x in enumerate(labels)]
    found = prepare([*lines, "{'audio': 'b', 'hubert': '7', 'label': 10}"], dev_fraction=0)
    rows = [row for part in found.values() for row in part]
    expected = ["3", "0", "2.5", "True", "x", "10"]
    assert [row["label"] for row in sorted(rows, key=lambda row: row["units"])] == expected
    for label in ("null", "NaN", "[1]"):
        line = f'{{"file_name": "a", "units": [1], "label": {label}}}'
        with pytest.raises(
            CorpusError, match=r"units\.txt:1: expected text or a number as 'label'"
        ):
            prepare([line])


@pytest.mark.parametrize(
    ("line", "settings"),
    [
        ('{"units": [1, 2], "duration": [1, 32768], "label": "x"}', {}),
        ('{"units": [1, 1], "duration": [32767, 1], "label": "x"}', {"collapse": True}),
        (f"{'1 ' * 32_768}<s> x", {"collapse": True}),
    ],
)
def test_durations_beyond_a_units_file_are_refused(prepare, line, settings):
    longest = '{"units": [1, 2], "duration": [1, 32767], "label": "x"}'
    expected = r"units\.txt:2: expected durations of at most 32767 frames, found 32768"
    with pytest.raises(CorpusError, match=expected):
        prepare([longest, line], dev_fraction=0, **settings)


@pytest.mark.parametrize(
    ("table", "columns", "message"),
    [
        (None, ["text"], r"units\.txt:1: expected text or a number as 'text', .* are a table"),
        ("name\ttext\nu0\tx\n", ["text"], "expected the column utt_id, path or file"),
        ("utt_id\ttext\nu0\tx\n", ["mood"], "expected the column 'mood'"),
        ("utt_id\ttext\nu0\tx\nu0\ty\n", ["text"], r"labels\.tsv, line 3: 'u0' is there before"),
        ("utt_id\ttext\nu0\t\n", ["text"], r"labels\.tsv, line 2: column 'text' is empty"),
        ("utt_id\ttext\nv0\tx\n", ["text"], r"no line has labels in .*, such as 'u0\.wav'"),
    ],
)
def test_labels_that_are_not_there(prepare, table, columns, message):
    with pytest.raises(CorpusError, match=message):
        prepare(frames_of(3), table, columns=columns)


def test_running_speech_with_its_sentences(shared_data, tmp_path):
    folder = shared_data / "units"
    for name, columns, count in (("ljspeech", ["text"], 1310), ("vctk", ["text", "speaker"], 2171)):
        corpus = UnitsCorpus(
            codebook="hubert100",
            train=str(folder / name / "units.txt"),
            table=str(folder / name / "text.tsv"),
            columns=columns,
            collapse=True,
            disjoint="text",
        )
        found = 0
        for split in ("train", "dev", "valid"):
            out = tmp_path / f"{split}.parquet"
            dictionary = folder / "dict.hubert100.txt"
            found += prepare_units(split, out, corpus, dictionary=dictionary)
            table = pq.read_table(out)
            assert all(sum(row["durations"]) == row["n_frames"] for row in table.to_pylist()[:100])
        assert found == count
        assert pq.read_schema(out).metadata[b"dedup"] == b"true"
