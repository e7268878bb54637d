"""What parses text or bytes of unknown origin, on inputs that are made up: properties of them all.

Whatever the input, the result is right or one error of the package. Nothing runs, nothing is
written elsewhere, and no example takes long.
"""

from __future__ import annotations

import csv
import io
import json
import os
import pickle
import resource
import struct
import sys
import tarfile
import time
import unicodedata
import zipfile
from argparse import Namespace
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import joblib
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from speechprompt.config import read_config
from speechprompt.config.corpora import KaldiCorpus, LhotseCorpus, ParquetCorpus, UnitsCorpus
from speechprompt.config.text import parse_text, parse_yaml
from speechprompt.corpora.registry import listing_of
from speechprompt.corpora.table import read_recordings, read_table
from speechprompt.downloads.archives import unpack
from speechprompt.errors import ArtefactError, AssetError, ConfigError, CorpusError
from speechprompt.lm.dictionary import read_dictionary
from speechprompt.models.importing.cpc import import_cpc
from speechprompt.models.importing.hubert import import_hubert
from speechprompt.models.importing.pickles import load_checkpoint, load_joblib
from speechprompt.models.importing.wav2vec2 import import_wavlm
from speechprompt.storage.files import read_json
from speechprompt.storage.text import printable
from speechprompt.tasks.sequences import SlotFilling, parse_slots
from speechprompt.units.text_corpus import prepare_units, read_vocabulary
from speechprompt.units.text_forms import read_lines

LONGEST_SECONDS, MOST_KIB = 10, 2**20  # of the processor


def examples(count):
    """The same examples in every run, each in a folder that earlier ones have used too."""
    return settings(
        max_examples=count,
        deadline=None,
        derandomize=True,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )


@contextmanager
def soon(error=ValueError, path=""):
    """What is done inside ends soon, stays small, and raises one error only, which names a path."""
    began, size = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    caught = None
    try:
        yield
    except error as reason:
        caught = reason
    assert time.process_time() - began < LONGEST_SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - size < MOST_KIB
    assert caught is None or str(path) in str(caught)


# Text without what separates cells, words and lines, and without halves of characters.
LETTERS = st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp"))
WORDS = st.text(LETTERS, min_size=1, max_size=6)
CELLS = st.text(st.one_of(LETTERS, st.sampled_from(" ,;\"'|=\\")), max_size=8)


def edited(content: bytes):
    """Strategy: bytes with some changed, cut out, doubled, or put in from elsewhere."""
    place = st.integers(0, max(len(content), 1) - 1)
    edit = st.tuples(
        st.sampled_from(["change", "cut", "double", "insert", "end"]),
        place,
        st.integers(1, 40),
        st.binary(min_size=1, max_size=8),
    )

    def apply(edits):
        result = bytearray(content)
        for kind, start, length, new in edits:
            if kind == "change":
                result[start : start + len(new)] = new
            elif kind == "cut":
                del result[start : start + length]
            elif kind == "double":
                result[start:start] = result[start : start + length]
            elif kind == "insert":
                result[start:start] = new
            else:
                del result[start:]
        return bytes(result)

    return st.lists(edit, min_size=1, max_size=4).map(apply)


# Tables


@pytest.mark.parametrize(("ending", "mark"), [("csv", ","), ("csv", ";"), ("tsv", "\t")])
@examples(60)
@given(rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=5))
def test_cells_of_a_table_come_back(tmp_path, ending, mark, rows):
    assume(all(any(cell.strip() for cell in row) for row in rows))
    path = tmp_path / f"table.{ending}"
    with path.open("w", encoding="utf-8", newline="") as stream:
        if ending == "tsv":
            lines = [["path", "split", "label"], *rows]
            stream.write("".join("\t".join(cells) + "\n" for cells in lines))
        else:
            writer = csv.writer(stream, delimiter=mark)
            writer.writerows([["path", "split", "label"], *rows])
    _, found = read_table(path, ["path"])
    expected = [[cell.strip() for cell in row] for row in rows]
    assert [list(row.values()) for _, row in found] == expected


HEADER = b"path,split,label\na.wav,train,yes\nb.wav,test,no\n"


@examples(150)
@given(
    content=st.one_of(st.binary(max_size=60), edited(HEADER), edited(HEADER.replace(b",", b"\t"))),
    name=st.sampled_from(["t.csv", "t.tsv"]),
)
def test_any_bytes_are_a_table_or_an_error(tmp_path, content, name):
    path = tmp_path / name
    path.write_bytes(content)
    with soon(CorpusError, path):
        recordings, labels = read_recordings(path)
        assert recordings
        assert all(set(item.labels) == set(labels) for item in recordings)


def lists_recordings(corpus, root):
    """List a corpus; whatever it lists is in a split and has all labels."""
    listing = listing_of(corpus).list_recordings(corpus, root, 1)
    for item in listing.recordings:
        assert item.split == "train"
        assert set(item.labels) == set(listing.label_columns)


SEGMENTS = b"a r 0 1.5\nb r 1.5 2 0\n"


@examples(100)
@given(
    name=st.sampled_from(["wav.scp", "segments", "text", "utt2spk", "utt2lang"]),
    content=st.one_of(st.binary(max_size=40), edited(SEGMENTS), edited(b"r a.wav\ns b.wav\n")),
)
def test_any_bytes_are_a_folder_of_kaldi_or_an_error(tmp_path, name, content):
    files = {"wav.scp": b"r a.wav\n", "segments": SEGMENTS, "text": b"a x\nb y z\n"}
    for path in tmp_path.iterdir():
        path.unlink()
    for file, text in (files | {name: content}).items():
        (tmp_path / file).write_bytes(text)
    with soon(CorpusError, tmp_path):
        lists_recordings(KaldiCorpus(train=str(tmp_path)), tmp_path)


RECORDING = {
    "id": "r",
    "sources": [{"type": "file", "channels": [0], "source": "a.wav"}],
    "duration": 2.0,
}
SUPERVISION = {"id": "u", "recording_id": "r", "start": 0.5, "duration": 1, "channel": 0}
MANIFEST = "".join(json.dumps(one) + "\n" for one in (RECORDING, SUPERVISION)).encode()
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.floats(), st.text(max_size=3), st.just([0])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=4,
)


@examples(200)
@given(
    content=st.one_of(
        st.binary(max_size=40),
        edited(MANIFEST),
        st.tuples(st.sampled_from([*RECORDING, *SUPERVISION, "type", "recording"]), VALUES).map(
            lambda pair: "".join(
                json.dumps(one | {pair[0]: pair[1]}) + "\n" for one in (RECORDING, SUPERVISION)
            ).encode()
        ),
    )
)
def test_any_bytes_are_a_manifest_of_lhotse_or_an_error(tmp_path, content):
    path = tmp_path / "cuts.jsonl"
    path.write_bytes(content)
    with soon(CorpusError, path):
        lists_recordings(LhotseCorpus(train=str(path)), tmp_path)


HUB = {"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}


@examples(100)
@given(text=st.one_of(st.binary(max_size=40), edited(json.dumps(HUB).encode())))
def test_any_metadata_of_the_hub_name_classes_or_are_an_error(tmp_path, text):
    path = tmp_path / "train.parquet"
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = {"audio": pa.array([{"bytes": b"x", "path": None}] * 2, kind), "label": [0, 1]}
    pq.write_table(pa.table(columns).replace_schema_metadata({"huggingface": text}), path)
    with soon(CorpusError, path):
        lists_recordings(ParquetCorpus(folder=str(tmp_path)), tmp_path)


# Unit lines

UNITS = st.lists(st.integers(0, 4), min_size=1, max_size=6)
PLAIN_WORDS = WORDS.filter(lambda word: "|" not in word and not word.startswith("\ufeff"))


def prepared(tmp_path, lines, dictionary="0 1\n1 1\n2 1\n3 1\n4 1\n"):
    (tmp_path / "dict.txt").write_text(dictionary, encoding="utf-8")
    for name in ("train.txt", "valid.txt"):
        mode = "wb" if isinstance(lines, bytes) else "w"
        with (tmp_path / name).open(mode, **{} if mode == "wb" else {"encoding": "utf-8"}) as file:
            file.write(lines)
    corpus = UnitsCorpus(
        kind="units",
        codebook="book",
        train=str(tmp_path / "train.txt"),
        valid=str(tmp_path / "valid.txt"),
        dev_fraction=0,
        deduplicate=False,
    )
    out = tmp_path / "units.parquet"
    prepare_units("train", out, corpus, dictionary=tmp_path / "dict.txt")
    return pq.read_table(out).to_pylist()


@examples(40)
@given(rows=st.lists(st.tuples(PLAIN_WORDS, UNITS, PLAIN_WORDS), min_size=1, max_size=4))
def test_unit_lines_come_back(tmp_path, rows):
    named = "".join(f"{name}|{' '.join(map(str, units))}|{label}\n" for name, units, label in rows)
    plain = "".join(f"{' '.join(map(str, units))} <s> {label}\n" for _, units, label in rows)
    for lines in (named, plain):
        found = prepared(tmp_path, lines)
        assert [row["units"] for row in found] == [units for _, units, _ in rows]
        composed = [unicodedata.normalize("NFC", label) for _, _, label in rows]
        assert [unicodedata.normalize("NFC", row["label"]) for row in found] == composed


@examples(120)
@given(
    lines=st.one_of(
        st.binary(max_size=60),
        edited(b"a.wav|0 1 2|yes\nb.wav|4 3|no\n"),
        edited("0 1 2 <s> yes\n4 3 \u00b2 \u0663 <s> no\n".encode()),
    )
)
def test_any_bytes_are_unit_lines_or_an_error(tmp_path, lines):
    with soon(CorpusError, tmp_path):
        found = prepared(tmp_path, lines)
        assert all(0 <= unit < 5 for row in found for unit in row["units"])


@examples(150)
@given(
    lines=st.one_of(
        edited(b"{'audio': 'a.wav', 'hubert': '1 1 2', 'duration': 0.06}\n"),
        edited(b'{"units": [1, 2], "duration": [2, 1], "file_name": "a"}\n<Un1><Un2>\n'),
        edited(b"a.wav\t1 2 3\nb.wav\t2\n"),
        st.sampled_from([b"{'a': " + b"[" * 10**5, b"{'a': '" + b"9 " * 10**5, b"{'" * 10**5]),
    )
)
def test_any_bytes_are_units_of_another_program_or_an_error(tmp_path, lines):
    path = tmp_path / "other.txt"
    path.write_bytes(lines)
    with soon(CorpusError, path):
        for line in read_lines(path, 5, CorpusError):
            assert all(0 <= unit < 5 for unit in line.units)
            assert line.durations is None or len(line.durations) == len(line.units)


@pytest.mark.parametrize("digits", ["9" * 12, "9" * 5000, "\u00b2", "\u0663" * 3])
def test_a_unit_of_any_length_is_an_error(tmp_path, digits):
    for lines, dictionary in (
        (f"{digits} <s> yes\n", "0 1\n1 1\n"),
        ("0 <s> a\n", f"{digits} 1\n"),
    ):
        with soon(), pytest.raises(CorpusError):
            prepared(tmp_path, lines, dictionary)


@examples(150)
@given(content=st.one_of(st.binary(max_size=40), edited(b"0 1\n1 1\n2 1\nmadeupword0000 0\n")))
def test_any_bytes_are_a_dictionary_or_an_error(tmp_path, content):
    path = tmp_path / "dict.txt"
    path.write_bytes(content)
    for read, error in ((read_vocabulary, CorpusError), (read_dictionary, ArtefactError)):
        with soon(error, path):
            read(path)


# Slot markup

TAGS = st.one_of(st.just("O"), st.tuples(st.sampled_from(["B-", "I-"]), WORDS).map("".join))
TAGGED = st.lists(
    st.tuples(WORDS.filter(lambda word: not set(word) & set("[]")), TAGS), min_size=1, max_size=6
)


def spans(tagged):
    """Slots of IOB tags; an I without its B, or of another type, opens one."""
    found, current = [], None
    for word, tag in tagged:
        slot = None if tag == "O" else tag[2:]
        if slot is not None and (tag.startswith("B-") or slot != current):
            found.append((slot, [word]))
        elif slot is not None:
            found[-1][1].append(word)
        current = slot
    return found


@examples(300)
@given(tagged=TAGGED)
def test_slots_come_back_from_their_markup(tagged):
    def written(words):
        return " ".join(unicodedata.normalize("NFC", " ".join(words).upper()).split())

    words, tags = zip(*tagged, strict=True)
    table = pa.table({"utt_id": ["u"], "text": [" ".join(words)], "tags": [" ".join(tags)]})
    labels = SlotFilling.from_train(table, ["text", "tags"], "train")
    (answer,) = labels.references(table, "train")
    text, slots = parse_slots(answer)
    assert text == written(words)
    composed = [(unicodedata.normalize("NFC", slot), own) for slot, own in spans(tagged)]
    assert slots == [(slot, written(own)) for slot, own in composed]
    assert "".join(labels.split(answer)) == answer
    assert labels.decode(labels.encode(answer)) == answer


@examples(200)
@given(symbols=st.lists(st.sampled_from(["[a:", "[b\\]:", "]", "A", " ", "\\", ":", "["])))
def test_any_sequence_of_labels_can_be_read(symbols):
    with soon(()):
        text, slots = parse_slots("".join(symbols))
    assert len(slots) <= sum(symbol.startswith("[") for symbol in symbols)
    assert text == " ".join(text.split())


# Pickles


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


SPECIMENS = Path(sys.prefix) / "went-off"


def state(bomb):
    weights = OrderedDict(a=torch.ones(2, 3), b=torch.arange(4.0).half())
    settings = Namespace(_name="hubert", encoder_layers=2, sizes=[1, (2, 3)], names={"x": {1}})
    return {"model": weights, "weights": weights, "args": settings, "config": settings, "z": bomb}


def written(value, legacy=False):
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=not legacy)
    return buffer.getvalue()


def pickle_of(content):
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
        return archive.read(name)


def with_pickle(content, replaced):
    """The archive of a checkpoint with another pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, replaced if name.endswith("data.pkl") else old.read(name))
    return buffer.getvalue()


def dumped(value):
    buffer = io.BytesIO()
    joblib.dump(value, buffer)
    return buffer.getvalue()


ZIP, LEGACY = written(state(Bomb(SPECIMENS))), written(state(None), legacy=True)
JOBLIB = dumped({"a": np.arange(12.0).reshape(3, 4), "b": [Namespace(x=1)], "z": Bomb(SPECIMENS)})
# Steps that take what is on the stack, and values to put there.
STEPS = [
    bytes([one]) for one in b"()]}.0122aeluostdbRQ\x81\x85\x86\x87\x88\x89\x8f\x90\x91\x92\x93\x94"
]
VALUES = [
    *(b"K\x01", b"N", b"h\x00", b"q\x00", b"h\x01", b"q\x01", b"X\x01\0\0\0a", b"\x8a\x01\x05"),
    *(b"cos\nmkdir\n", b"cfairseq.a\nB\n", b"cbuiltins\nset\n", b"cbuiltins\ngetattr\n"),
    *(b"ccollections\nOrderedDict\n", b"ctorch._utils\n_rebuild_tensor_v2\n", b"cnumpy\ndtype\n"),
    *(b"X\x07\0\0\0storage", b"ctorch\nFloatStorage\n", b"G" + struct.pack(">d", 1e300)),
    b"cjoblib.numpy_pickle\nNumpyArrayWrapper\n",
]
PROGRAMS = st.lists(st.one_of(st.sampled_from(STEPS), st.sampled_from(VALUES)), max_size=40).map(
    lambda steps: b"\x80\x02" + b"".join(steps) + b"."
)


@pytest.fixture
def harmless():
    """At the end, no pickle has run anything."""
    yield
    assert not SPECIMENS.exists()


@examples(200)
@given(
    content=st.one_of(
        edited(pickle_of(ZIP)).map(lambda changed: with_pickle(ZIP, changed)),
        PROGRAMS.map(lambda program: with_pickle(ZIP, program)),
        edited(ZIP),
        edited(LEGACY),
        PROGRAMS,
    )
)
def test_a_changed_checkpoint_never_runs_hangs_or_grows(tmp_path, harmless, content):
    path = tmp_path / "model.pt"
    path.write_bytes(content)
    with soon(AssetError, path):
        load_checkpoint(path)
    for verb in (import_hubert, import_cpc):
        with soon((ArtefactError, AssetError), path):
            verb(path, tmp_path / "out.safetensors")
            pytest.fail("no model of this kind was written")


@examples(200)
@given(content=st.one_of(edited(JOBLIB), PROGRAMS))
def test_a_changed_joblib_file_never_runs_hangs_or_grows(tmp_path, harmless, content):
    path = tmp_path / "km.bin"
    path.write_bytes(content)
    with soon(AssetError, path):
        load_joblib(path)


def test_the_bomb_of_these_tests_works(tmp_path):
    pickle.loads(pickle.dumps(Bomb(tmp_path / "went-off")))
    assert (tmp_path / "went-off").is_dir()


# YAML, JSON, and what configurations of models say

LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**9), 10**9),
    st.floats(allow_nan=False),
    st.text(LETTERS, max_size=6),
)
VALUES_OF_SETTINGS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text(LETTERS, max_size=4), inner, max_size=3),
    ),
    max_leaves=8,
)
MARKS = ["&a ", "*a", "&b ", "*b", "[", "]", "{", "}", ",", ": ", "? ", "<<: ", "- ", "\n", "  "]
YAML = st.lists(st.sampled_from([*MARKS, "x", "1", "1:1:1", "~", '"', "'", "|", "#", "!!set "]))


TRANSFORMERS = {
    **{"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
    **{"conv_dim": [4], "conv_kernel": [10], "conv_stride": [5], "num_conv_pos_embeddings": 4},
    **{"num_conv_pos_embedding_groups": 2, "num_buckets": 8, "max_bucket_distance": 8},
    **dict.fromkeys(("conv_bias", "do_stable_layer_norm", "conv_pos_batch_norm"), False),
    **{"feat_extract_norm": "group", "layer_norm_eps": 1e-5, "hidden_act": "gelu"},
}


@examples(150)
@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(TRANSFORMERS)),
        st.one_of(
            VALUES_OF_SETTINGS,
            st.integers(-3, 300),
            st.lists(st.integers(-1, 10**12), max_size=4),
        ),
        max_size=3,
    ),
    verb=st.sampled_from([import_hubert, import_wavlm]),
    index=st.one_of(edited(b'{"weight_map": {"a": "b.safetensors"}}'), st.none()),
)
def test_any_settings_are_those_of_a_folder_or_an_error(tmp_path, changes, verb, index):
    kind = verb.__name__.removeprefix("import_")
    config = {"model_type": kind, **TRANSFORMERS, **changes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").unlink(missing_ok=True)
    if index is None:
        save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    else:
        (tmp_path / "model.safetensors.index.json").write_bytes(index)
    with soon((ArtefactError, AssetError), tmp_path):
        verb(tmp_path, tmp_path / "out.safetensors", normalize=False)
        pytest.fail("no model of this kind was written")


@examples(150)
@given(value=VALUES_OF_SETTINGS)
def test_settings_come_back_from_yaml_and_from_json(value):
    assert parse_yaml(yaml.safe_dump(value, allow_unicode=True)) == value
    assert parse_text(json.dumps(value)) == value


@examples(300)
@given(
    text=st.one_of(YAML.map("".join), st.text(max_size=40)),
    content=st.one_of(st.binary(max_size=30), edited(b"a: &x {b: [1, 2]}\nc: *x\nd: {<<: *x}\n")),
)
def test_any_text_is_yaml_or_an_error(tmp_path, text, content):
    with soon():
        parse_text(text)
    path = tmp_path / "setup.yaml"
    path.write_bytes(content)
    with soon(ConfigError, path):
        assert isinstance(read_config(path), dict)
    with soon(ArtefactError, path):
        read_json(path)


# Archives

NAMES = st.lists(
    st.sampled_from(["a", "b", "..", ".", "", "c" * 300, "\\", "\udc80", "\n", "~", "C:"]),
    min_size=1,
    max_size=4,
).map("/".join)
KINDS = st.sampled_from(
    [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE]
)
ENTRIES = st.lists(st.tuples(NAMES, KINDS, NAMES, st.binary(max_size=20)), min_size=1, max_size=5)


def as_tar(entries):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", errors="surrogateescape") as archive:
        for name, kind, target, content in entries:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target if kind in b"12" else ""
            info.size = len(content) if kind == tarfile.REGTYPE else 0
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def as_zip(entries):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, kind, target, content in entries:
            info = zipfile.ZipInfo(name.replace("\udc80", "x") or "x")
            mode = {tarfile.SYMTYPE: 0o120777, tarfile.FIFOTYPE: 0o010666}.get(kind, 0)
            info.external_attr = mode << 16
            text = target.encode("utf-8", "replace") if kind == tarfile.SYMTYPE else content
            archive.writestr(info, text)
    return buffer.getvalue()


GOOD = [("a/1.wav", tarfile.REGTYPE, "", b"one" * 9), ("b", tarfile.SYMTYPE, "a/1.wav", b"")]


@pytest.mark.filterwarnings("ignore:Duplicate name")
@examples(200)
@given(
    content=st.one_of(
        ENTRIES.map(as_tar),
        ENTRIES.map(as_zip),
        edited(as_tar(GOOD)),
        edited(as_zip(GOOD)),
        st.binary(max_size=40),
    )
)
def test_an_archive_writes_nothing_elsewhere(tmp_path, content):
    place = tmp_path / "there"
    place.mkdir(exist_ok=True)
    archive = tmp_path / "archive"
    archive.write_bytes(content)
    with soon(AssetError, archive):
        unpack(archive, place / "out", max_bytes=1000)
    assert {path.name for path in tmp_path.iterdir()} == {"archive", "there"}
    assert {path.name for path in place.iterdir()} <= {"out"}
    assert not any(path.is_symlink() for path in (place / "out").rglob("*"))


# Terminals


@examples(200)
@given(text=st.text(st.characters(exclude_categories=("Cs",)), max_size=12))
def test_what_is_shown_has_no_controls_and_json_stays_json(text):
    shown = printable(text)
    assert not any(unicodedata.category(mark) in ("Cc", "Zl", "Zp") for mark in shown)
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text
