"""Tables: what people write into a CSV, a TSV or a configuration by mistake or on purpose."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from faults.tiny import SPLITS, STAGES, Tiny
from faults.trial import CLEAN, SAME, SILENT, Case, Process, Stage, Verdict, judge
from speechprompt.storage.parquet import read_parquet

__all__ = ["faults"]

TABLE = "corpus/corpus.csv"
FIRST, ROW = "audio/000.wav,train,s0,no", "audio/001.wav,train,s1,yes"
HEADER = "path,split,speaker,label"


def _put(old: str, new: str) -> Callable[[str], str]:
    return lambda text: text.replace(old, new, 1)


# What happens to the table. Its rows are the same as before, or there is an error.
EDITS: dict[str, Callable[[str], str | bytes]] = {
    "byte order mark": lambda text: "\ufeff" + text,
    "line ends of Windows": lambda text: text.replace("\n", "\r\n").encode(),
    "no line end at the end": lambda text: text.rstrip("\n"),
    "blank lines": lambda text: text.replace("\n", "\n\n"),
    "blanks around cells": lambda text: text.replace(",", " , "),
    "semicolons": lambda text: text.replace(",", ";"),
    "all cells quoted": lambda text: '"' + text.strip().replace(",", '","').replace("\n", '"\n"')
    + '"\n',
    "path in another spelling": _put("audio/000.wav", "./audio//000.wav"),
    "columns in another order": lambda text: "\n".join(
        ",".join([*line.split(",")[1:3], line.split(",")[0], line.split(",")[3]])
        for line in text.splitlines()
    ),
    "no header": _put(f"{HEADER}\n", ""),
    "header only": lambda text: f"{HEADER}\n",
    "empty": lambda text: "",
    "no column split": _put("split", "part"),
    "column twice": _put("speaker", "label"),
    "column of the manifest": _put("label", "n_samples"),
    "unknown split": _put(",train,", ",training,"),
    "a short row": _put(f"{FIRST}\n", "audio/000.wav,train\n"),
    "a long row": _put(FIRST, f"{FIRST},more"),
    "a quotation mark that is not closed": _put(FIRST, FIRST.replace("no", '"no')),
    "a quotation mark in a cell": _put(FIRST, FIRST.replace("no", '"n"o')),
    "a cell of two lines": _put(FIRST, FIRST.replace("no", '"n\no"')),
    "a zero byte": _put(FIRST, FIRST.replace("no", "n\0o")),
    "Latin-1": lambda text: text.replace(",no", ",n\xf6").encode("latin-1"),
    "UTF-16": lambda text: text.encode("utf-16"),
    "random bytes": lambda text: bytes(range(256)) * 8,
    "a row twice": _put(FIRST, f"{FIRST}\n{FIRST}"),
    "a recording by two paths": _put(FIRST, f"{FIRST}\naudio/../{FIRST}"),
    "a recording in two splits": _put(FIRST, f"{FIRST}\naudio/../audio/000.wav,test,s0,no"),
    "an empty path": _put("audio/000.wav", ""),
    "a recording that is missing": _put("audio/000.wav", "audio/none.wav"),
    "a folder for a recording": _put("audio/000.wav", "audio"),
    "the table as a recording": _put("audio/000.wav", "corpus.csv"),
    "no train": lambda text: text.replace(",train,", ",test,"),
    "no test": lambda text: text.replace(",test,", ",train,"),
}  # fmt: skip

TASK = "tasks:\n  ks: {corpus: mine, lm: tiny}\n"
SETUP = """\
corpora:
  mine: {kind: csv, table: corpus/corpus.csv}
encoders:
  mfcc: {kind: mfcc, sample_corpora: [mine]}
codebooks:
  km8: {encoder: mfcc, n_units: 8}
lm:
  tiny: {codebook: km8, corpora: [mine]}
"""
# Set-ups, none of which can be meant.
SETUPS: dict[str, str | bytes] = {
    "empty": "",
    "a list": "- a\n- b\n",
    "a text": "hello",
    "no YAML": "a: [1, 2",
    "a tab": "a:\n\tb: 1\n",
    "a key twice": SETUP + TASK + TASK,
    "an unknown key": f"{SETUP}{TASK}nonsense: 1\n",
    "a number for a block": SETUP + "tasks: 3\n",
    "null for a block": SETUP + "tasks: {ks: null}\n",
    "an unknown unit LM": SETUP + TASK.replace("tiny", "absent"),
    "too few units": SETUP.replace("n_units: 8", "n_units: 1") + TASK,
    "not a number": SETUP.replace("n_units: 8", "n_units: .nan") + TASK,
    "an object of Python": "a: !!python/object/apply:os.system ['touch ran']\n",
    "a bomb": "a: &a [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"{c}: &{c} [{','.join(['*' + chr(ord(c) - 1)] * 9)}]\n" for c in "bcdefghijkl"),
    "deep nesting": "a: " + "[" * 20_000 + "]" * 20_000,
    "Latin-1": "# caf\xe9\n".encode("latin-1") + SETUP.encode(),
    "random bytes": bytes(range(256)) * 8,
    "a zero byte": f"{SETUP}{TASK}\0",
}


def faults(run: Tiny) -> Iterator[Case]:
    """Every edit of the table, a TSV with quotation marks, and every wrong set-up."""
    for name, edit in EDITS.items():
        changed = edit(run.content[TABLE].decode())
        content = changed.encode() if isinstance(changed, str) else changed
        yield Case(f"table: {name}", partial(_prepare, run, content))
    for mark in ('"no', 'n"o', '"', "'", '""no'):
        yield Case(f"TSV with the label {mark}", partial(_prepare_tsv, run, mark))
    for name, text in SETUPS.items():
        content = text.encode() if isinstance(text, str) else text
        yield Case(f"set-up: {name}", partial(_check_setup, content))


def _prepare(run: Tiny, content: bytes, place: Path) -> Verdict:
    stage = STAGES["prepare-csv"]
    run.copy(place, without=stage)
    (place / TABLE).write_bytes(content)
    process = Process(place, stage.words).start().wait()
    # Recordings that are missing or none are named in the list of rejects.
    return judge(process, stage, run.content, ["corpus.csv", "corpus: "])


def _prepare_tsv(run: Tiny, label: str, place: Path) -> Verdict:
    """Quotation marks are text in a TSV."""
    stage = STAGES["prepare-csv"]
    run.copy(place, without=stage)
    text = run.content[TABLE].decode().replace(",no", f",{label}").replace(",", "\t")
    (place / "corpus/corpus.tsv").write_text(text)
    words = [word.replace("corpus.csv", "corpus.tsv") for word in stage.words]
    process = Process(place, words).start().wait()
    if process.status != 0:
        return judge(process, stage, run.content, ["corpus.tsv"])
    manifests = [place / "results/manifests/mine" / f"{split}.parquet" for split in SPLITS]
    labels = [value for path in manifests for value in read_parquet(path)["label"].to_pylist()]
    expected = [line.split("\t")[3] for line in text.splitlines()[1:]]
    return Verdict(SAME if labels == expected else SILENT, process.said)


def _check_setup(content: bytes, place: Path) -> Verdict:
    place.mkdir()
    (place / "config.yaml").write_bytes(content)
    process = Process(place, ["check-config", "config.yaml"]).start().wait(30)
    verdict = judge(
        process, Stage("check-config", (), ()), {}, ["config.yaml", "the configuration"]
    )
    is_wrong = verdict.outcome != CLEAN or (place / "ran").exists()
    return Verdict(SILENT, process.said) if is_wrong and process.status == 0 else verdict
