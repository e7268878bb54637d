"""Shell: names hold what a shell, Snakemake or argparse could take for more than text."""

import csv
import os
import subprocess
import sys
import unicodedata
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml

from faults.tiny import STAGES, TASK, Tiny
from faults.trial import (
    CLEAN,
    SAME,
    SILENT,
    TRACEBACK,
    UNCLEAR,
    Case,
    Process,
    Stage,
    Verdict,
    judge,
)
from speechprompt.storage.parquet import read_parquet

__all__ = ["faults"]

REPOSITORY = Path(__file__).parents[1]
MODELS = {
    "encoders": {"mfcc": {"kind": "mfcc", "sample_corpora": ["mine"]}},
    "codebooks": {"km8": {"encoder": "mfcc", "n_units": 8}},
    "lm": {"tiny": {"codebook": "km8", "corpora": ["mine"]}},
}
HOSTILE = (
    *("$(touch ran)", "`touch ran`", ";touch ran;", "|touch ran", "&touch ran&", "a b"),
    *("'", '"', "\\", "*", "?", "{}", "{word}", "{input}", "%s", "#", "~", "$HOME", "-x", "--help"),
    *("\N{SNOWMAN}", "e\N{COMBINING ACUTE ACCENT}", "line\nbreak", "\x1b[31m", "<results>", "!x"),
)
PROGRAM = "import sys; from snakemake.cli import main; sys.argv[0] = 'snakemake'; sys.exit(main())"
# In one name each, because a run of Snakemake takes seconds.
RUN_IN = ("$(touch ran) `touch ran`;touch ran", "a 'b' \"c\" {word} %s", "-x * ? ~ # & | \\ !")


def faults(run: Tiny) -> Iterator[Case]:
    """Hostile names of recordings, tables, folders and labels; and whole runs of Snakemake."""
    for text in HOSTILE:
        yield Case(f"label {text!r}", partial(_label, run, text))
        yield Case(f"recording {text!r}", partial(_recording, run, text))
        yield Case(f"folder {text!r}", partial(_folder, run, text))
    for text in RUN_IN:
        yield Case(f"Snakemake with {text!r}", partial(_snakemake, run, text))


def _label(run: Tiny, text: str, place: Path) -> Verdict:
    stage = STAGES["prepare-csv"]
    run.copy(place, without=stage)
    quoted = text.replace('"', '""')
    _edit_table(place, ",no", f',"{quoted}"')
    return _judge_manifest(Process(place, stage.words).start().wait(), place, "label", text)


def _recording(run: Tiny, text: str, place: Path) -> Verdict:
    stage = STAGES["prepare-csv"]
    run.copy(place, without=stage)
    name = f"{text}.wav"
    (place / "corpus" / "audio" / "000.wav").rename(place / "corpus" / name)
    quoted = name.replace('"', '""')
    _edit_table(place, "audio/000.wav", f'"{quoted}"')
    return _judge_manifest(Process(place, stage.words).start().wait(), place, "path", name)


def _folder(run: Tiny, text: str, place: Path) -> Verdict:
    """Every path of a prediction has it."""
    folder = run.copy(place / text)
    audio = "corpus/audio/000.wav"
    words = [
        ["predict", f"{base}{TASK}", f"{base}{audio}", "--json"] for base in ("", f"./{text}/")
    ]
    expected = Process(folder, words[0]).start().wait()
    found = Process(place, words[1]).start().wait()
    verdict = judge(found, Stage("predict", (), ()), {})
    if verdict.outcome == SAME:
        answers = (one.said.partition('"task"')[2] for one in (expected, found))
        verdict = Verdict(SAME if len({*answers}) == 1 else SILENT, found.said)
    return _unless_it_ran(verdict, place)


def _snakemake(run: Tiny, text: str, place: Path) -> Verdict:
    """The run's folder, the recordings' folder and the label column have it."""
    stage = STAGES["prepare-csv"]
    folder = run.copy(place / text, without=stage)
    (folder / "corpus").rename(folder / text)
    table = folder / text / "corpus.csv"
    with table.open(newline="") as stream:
        header, *rows = csv.reader(stream)
    with table.open("w", newline="") as stream:
        csv.writer(stream).writerows([[*header[:3], text], *rows])
    setup = {"corpora": {"mine": {"kind": "csv", "table": f"{text}/corpus.csv"}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(setup | MODELS))
    words = [sys.executable, "-c", PROGRAM, "--snakefile", str(REPOSITORY / "workflow/Snakefile")]
    words += ["--configfile", "config.yaml", "--cores", "1", *stage.outputs]
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        words, cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )
    said = done.stdout + done.stderr
    if "Traceback (most recent call last)" in said:
        return Verdict(TRACEBACK, said)
    if done.returncode:
        return Verdict(CLEAN if "corpora.mine.table: " in said else UNCLEAR, said)
    found = [read_parquet(folder / name).to_pylist() for name in stage.outputs]
    expected = [read_parquet(run.folder / name).to_pylist() for name in stage.outputs]
    for row in (row for rows in expected for row in rows if "label" in row):
        row[text] = row.pop("label")
    return _unless_it_ran(Verdict(SAME if found == expected else SILENT, said), place)


def _edit_table(place: Path, old: str, new: str) -> None:
    table = place / "corpus/corpus.csv"
    table.write_text(table.read_text().replace(old, new))


def _judge_manifest(process: Process, place: Path, column: str, expected: str) -> Verdict:
    """The manifest has the text as it is, or the table is refused."""
    verdict = judge(process, Stage("prepare-csv", (), ()), {}, ["corpus.csv"])
    if verdict.outcome == SAME:
        manifest = place / "results/manifests/mine/train.parquet"
        # Blanks around cells are no part of them, and labels have one Unicode form.
        forms = {expected.strip(), unicodedata.normalize("NFC", expected).strip()}
        found = forms & {*read_parquet(manifest)[column].to_pylist()}
        verdict = Verdict(SAME if found else SILENT, process.said)
    return _unless_it_ran(verdict, place)


def _unless_it_ran(verdict: Verdict, place: Path) -> Verdict:
    ran = [path for path in place.rglob("ran*") if path.is_file()]
    return Verdict(SILENT, f"{ran[0]} was made by a shell") if ran else verdict
