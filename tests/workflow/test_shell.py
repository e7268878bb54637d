"""No text of a set-up is read by the shell: commands get it whole, and nothing else runs."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import REPOSITORY
from speechprompt.cli import build_parser
from speechprompt.config import Config, parse_config
from speechprompt.config.fields import Block
from speechprompt.errors import ConfigError
from speechprompt.workflow.configuration import load_config
from speechprompt.workflow.resources import Machine, Resources

PLANNER = Path(__file__).with_name("planned_jobs.py")
# What a shell, Snakemake or argparse could take for more than text.
HOSTILE = "-x;>ran;$(>ran)`>ran`&>ran|{input[0]} {}%s \"'*?~!#\\\n"


PATHS = ["table", "root", "train", "valid", "test", "dictionary", "weights", "checkpoint", "start"]
# Snakemake replaces these in paths of inputs. A table has every row in one line.
PATTERNS = "{word} {seed} {corpus,.*} <results>"
COLUMN = f"{HOSTILE.strip()} {PATTERNS}"


def named(what):
    return f"{HOSTILE}{what}"


COMMIT = "0123456789abcdef0123456789abcdef01234567"
ENCODERS_OF_TRANSFORMERS = (
    {"weights": named("encoder.safetensors")},
    {"checkpoint": named("/encoder.pt")},
)
# Encoders of which there is a codebook, a unit LM and a task.
FOREIGN = ("-r", *(f"-{kind}-{number}" for kind in ("wav2vec2", "wavlm") for number in range(2)))

STARTED = {"verbalizer": "learnable", "prompt": {"start": named("start.safetensors")}}
SETUP = {
    "seeds": [1],
    "shards": 1,
    "max_rejected": 0.5,
    "corpora": {
        "-x": {"kind": "synthetic", "task": "slot_filling"},
        "--help": {"kind": "csv", "table": named("/table.csv")},
        "-": {"kind": "fsdd", "root": named(PATTERNS + "fsdd"), "test_speaker": named("speaker")},
        "-c": {"kind": "speech_commands", "root": named(PATTERNS + "commands")},
        "-w": {"kind": "speech_commands_v2", "root": named(PATTERNS + "words")},
        "-i": {"kind": "mini_speech_commands", "root": named(PATTERNS + "mini")},
        "-lt": {"kind": "lt_speech_commands", "root": named(PATTERNS + "lt")},
        "-f": {"kind": "fluent_speech_commands", "root": named(PATTERNS + "fluent")},
        "-l": {"kind": "librispeech", "root": named(PATTERNS + "read")},
        "-a": {"kind": "audio_snips", "root": named(PATTERNS + "snips")},
        "-u": {
            "kind": "units",
            "codebook": "-u",
            **{split: named(f"{split}.txt") for split in ("train", "valid", "test")},
            "columns": [COLUMN],
            "label_names": [COLUMN],
        },
        "-k": {
            "kind": "kaldi",
            **{split: named(f"/{split}.kaldi") for split in ("train", "valid", "test")},
            "root": named("/kaldi"),
            "trust": True,
        },
        "-h": {
            "kind": "lhotse",
            **{split: [named(f"/{split}.jsonl")] for split in ("train", "valid", "test")},
            "root": named("/lhotse"),
        },
        "-q": {
            "kind": "parquet",
            "folder": named("/parquet"),
            **{name: f"{COLUMN} {name}" for name in ("audio", "speaker", "split")},
        },
        "-j": {
            "kind": "parquet",
            "repository": "a/b",
            "revision": COMMIT,
            "files": named(PATTERNS + "*.parquet"),
        },
        "-v": {
            "kind": "units",
            "codebook": "-u",
            "train": named("train.txt"),
            "valid": named("valid.txt"),
            "table": named("labels.csv"),
            "disjoint": COLUMN,
            "columns": [COLUMN],
            "label_names": {COLUMN: [COLUMN]},
        },
    },
    "encoders": {
        "-x": {"kind": "mfcc", "sample_corpora": ["-x"]},
        "--help": {"kind": "hubert", "weights": named("hubert.safetensors"), "layer": 1},
        "-o": {"kind": "hubert", "checkpoint": named("/hubert.pt"), "layer": 1},
        "-p": {
            "kind": "hubert",
            "checkpoint": "hubert_base_ls960.pt",
            "layer": 1,
            "root": named(PATTERNS + "models"),
        },
        "-c": {"kind": "cpc", "weights": named("cpc.safetensors")},
        "-d": {"kind": "cpc", "checkpoint": named("/cpc.pt")},
        "-e": {
            "kind": "cpc",
            "checkpoint": "cpc_big_ll6kh_top_ctc.pt",
            "root": named(PATTERNS + "models"),
        },
        **{
            f"-{kind}-{number}": {"kind": kind, "layer": 1, **source}
            for kind in ("wav2vec2", "wavlm")
            for number, source in enumerate(ENCODERS_OF_TRANSFORMERS)
        },
        "-r": {"kind": "hubert", "checkpoint": "a/b", "revision": COMMIT, "layer": 1},
        "-t": {
            "kind": "hubert",
            "layer": 1,
            "sample_corpora": ["-x"],
            "pretraining": {"targets": "-x", "corpora": ["-x"], "start": "--help"},
        },
    },
    "codebooks": {
        "-x": {"encoder": "-x", "n_units": 50},
        "--help": {"encoder": "--help", "weights": named("book.safetensors")},
        "-o": {"encoder": "-o", "checkpoint": named("/km.bin")},
        "-p": {
            "encoder": "-p",
            "checkpoint": "hubert_km100.bin",
            "root": named(PATTERNS + "models"),
        },
        "-c": {"encoder": "-c", "weights": named("book.safetensors")},
        "-d": {"encoder": "-d", "weights": named("book.safetensors")},
        "-e": {"encoder": "-e", "weights": named("book.safetensors")},
        "-t": {"encoder": "-t", "n_units": 50},
        **{name: {"encoder": name, "weights": named("book.safetensors")} for name in FOREIGN},
        "-u": {"kind": "external", "dictionary": named("dict.txt")},
    },
    "lm": {
        "-x": {"codebook": "-x", "corpora": ["-x"]},
        "--help": {"codebook": "--help", "weights": named("lm.safetensors")},
        "-o": {"codebook": "-o", "checkpoint": named("/lm.tgz")},
        "-p": {
            "codebook": "-p",
            "checkpoint": "hubert100_lm.tgz",
            "root": named(PATTERNS + "models"),
        },
        **{
            name: {"codebook": name, "weights": named("lm.safetensors")}
            for name in ("-c", "-d", "-e", "-t", "-u", *FOREIGN)
        },
    },
    "tasks": {
        "-x": {"corpus": "-x", "lm": "-x", "type": "slot_filling", "compare": ["downstream"]},
        "--help": {
            "corpus": "--help",
            "lm": "--help",
            "labels": [COLUMN],
            "compare": ["finetune", "downstream"],
            "acoustic_baselines": ["mfcc_mean", "mfcc_dtw"],
        },
        "-": {"corpus": "-", "lm": "-o", "labels": ["digit"]},
        "-y": {"corpus": "-", "lm": "--help", "labels": ["digit"], "crossvalidate": "speaker"},
        "-c": {"corpus": "-c", "lm": "-p"},
        "-f": {"corpus": "-f", "lm": "-c", "labels": ["action", "object", "location"]},
        "-l": {"corpus": "-l", "lm": "-d", "type": "transcription"},
        "-a": {"corpus": "-a", "lm": "-e", "type": "slot_filling"},
        "-u": {"corpus": "-u", "lm": "-u", "labels": [COLUMN]},
        "-v": {"corpus": "-v", "lm": "-u", "labels": [COLUMN]},
        "-t": {"corpus": "-x", "lm": "-t", "type": "transcription"},
        "-w": {"corpus": "-w", "lm": "--help", "robustness": True},
        **{name: {"corpus": "-w", "lm": name} for name in FOREIGN},
        "-k": {"corpus": "-k", "lm": "--help", "labels": ["text"]},
        "-h": {"corpus": "-h", "lm": "--help", "labels": ["text"]},
        "-q": {"corpus": "-q", "lm": "--help", "labels": [COLUMN]},
        "-i": {"corpus": "-i", "lm": "--help", **STARTED},
        "-lt": {"corpus": "-lt", "lm": "--help"},
        "-j": {"corpus": "-j", "lm": "--help", "labels": [COLUMN]},
    },
    "quality": {"corpus": "-x", "codebooks": ["-x", "--help"]},
    "sweep": {"task": "--help", "spaces": [{"length": [5]}]},
}
TARGETS = [
    *("results/lm/-x/learning_curve.svg", "results/encoders/-t/learning_curve.svg"),
    *("results/-x/overview.html", "resources/models/shipped/hubert-nano.safetensors"),
]


def takes_any_text(schema):
    """Whether a part of the configuration's schema takes any text; names have a pattern."""
    if isinstance(schema, list):
        return any(map(takes_any_text, schema))
    if not isinstance(schema, dict):
        return False
    if schema.get("type") == "string":
        return not {"pattern", "enum", "const"} & set(schema)
    inner = ("anyOf", "oneOf", "items", "additionalProperties")
    return any(takes_any_text(schema.get(name)) for name in inner)


def blocks_in(value):
    if isinstance(value, Block):
        yield value
        value = dict(value)
    if isinstance(value, dict):
        value = list(value.values())
    for one in value if isinstance(value, list) else ():
        yield from blocks_in(one)


def write_listings(folder):
    """Recordings as Kaldi, lhotse and the hub list them."""
    source = {"type": "file", "channels": [0], "source": "1.wav"}
    recording = {"id": "1", "sources": [source], "duration": 1.0}
    said = {"id": "1", "recording_id": "1", "start": 0, "duration": 1, "text": "yes"}
    for split in ("train", "valid", "test"):
        (folder / f"{split}.kaldi/wav.scp").write_text("1 cat 1.wav |\n")
        (folder / f"{split}.kaldi/text").write_text("1 yes\n")
        lines = "".join(f"{json.dumps(one)}\n" for one in (recording, said))
        (folder / f"{split}.jsonl").write_text(lines)
    (folder / "parquet").mkdir()
    columns = {
        f"{COLUMN} audio": pa.array([None], pa.struct({"bytes": pa.binary(), "path": pa.string()})),
        f"{COLUMN} speaker": ["ann"],
        f"{COLUMN} split": ["train"],
        COLUMN: ["yes"],
    }
    pq.write_table(pa.table(columns), folder / "parquet/1.parquet")


@pytest.fixture(scope="module")
def jobs(tmp_path_factory):
    """The jobs of the hostile set-up, their commands included, and the folder of the run."""
    folder = tmp_path_factory.mktemp("run") / "a;>ran $(>ran)'{word}"
    folder.mkdir()
    for block in blocks_in(parse_config(SETUP)):
        for name in PATHS:
            place = getattr(block, name, None)
            if isinstance(place, str) and HOSTILE in place:
                (folder / place).parent.mkdir(parents=True, exist_ok=True)
                if place.endswith((".kaldi", "/kaldi", "/lhotse")):
                    (folder / place).mkdir()
                else:
                    (folder / place).touch()
    write_listings(folder / HOSTILE)
    with (folder / HOSTILE / "table.csv").open("w", newline="") as stream:
        rows = [["path", "split", COLUMN], ["1.wav", "train", "yes"]]
        csv.writer(stream).writerows(rows)
    (folder / "setup.yaml").write_text(yaml.safe_dump(SETUP))
    done = subprocess.run(
        [sys.executable, str(PLANNER), str(folder), str(folder / "setup.yaml"), "all", *TARGETS],
        capture_output=True,
        text=True,
        cwd=REPOSITORY,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder, json.loads(done.stdout)


def test_every_text_of_the_configuration_is_hostile():
    texts = {
        (kind, name)
        for kind, block in Config.model_json_schema()["$defs"].items()
        for name, schema in block.get("properties", {}).items()
        if takes_any_text(schema)
    }
    hostile = {
        (type(block).__name__, name)
        for block in blocks_in(parse_config(SETUP))
        for name, value in block
        if not isinstance(value, Block) and ">ran" in str(value)
    }
    assert len(texts) > 20
    # No file of these is published, so that a folder with one is refused.
    assert texts - hostile == {("Wav2Vec2Encoder", "root"), ("WavLmEncoder", "root")}


def texts_in(value):
    """All texts in a value as JSON has it, or in a parsed command line."""
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for one in value:
            yield from texts_in(one)
    elif value is not None:
        yield str(value)


@pytest.fixture(scope="module")
def command_lines(jobs, tmp_path_factory):
    """What every job's command gives to the program: bash runs it as in a job."""
    folder, plan = jobs
    programs = tmp_path_factory.mktemp("programs")
    recorder = programs / "speechprompt"
    recorder.write_text('#!/bin/bash\nprintf "%s\\0" "$@"\n')
    recorder.chmod(0o755)
    before = f"set -euo pipefail; {plan['before']} PATH={programs}:$PATH; "
    found = []
    for job in plan["jobs"]:
        if job["command"] is None:
            continue
        done = subprocess.run(
            ["bash", "-c", before + job["command"]], cwd=folder, capture_output=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, b""), (job["command"], done.stderr)
        found.append((job, done.stdout.decode().split("\0")[:-1]))
    return found


def test_nothing_but_the_program_runs(jobs, command_lines):
    folder, plan = jobs
    assert {job["rule"] for job, _ in command_lines} == set(plan["rules"]) - {"all"}
    assert not list(folder.parent.rglob("ran"))
    assert not (REPOSITORY / "ran").exists()


def test_every_text_arrives_whole(jobs, command_lines):
    config = parse_config(SETUP)
    given = set(texts_in(config.model_dump(mode="json")))
    parser, arrived = build_parser(), set()
    for job, line in command_lines:
        parsed = vars(parser.parse_args(line))
        files = {*job["input"], *job["output"]}
        files |= {str(place) for path in files for place in Path(path).parents}
        for value in texts_in([str(word) for word in flat(parsed)]):
            texts = [value]
            if value[:1] in "[{" and value not in given:
                texts = list(texts_in(json.loads(value)))
            hostile = {text for text in texts if "ran" in text and ">" in text}
            assert hostile <= given | files | {f"./{path}" for path in files}, job["rule"]
            arrived |= hostile
    whole = {text for text in given if HOSTILE.strip() in text}
    assert whole - {text.removeprefix("./") for text in arrived} == set()


def flat(value):
    for one in value.values() if isinstance(value, dict) else value:
        yield from flat(one) if isinstance(one, dict | list) else [one]


def test_names_that_begin_with_hyphens_arrive(command_lines):
    parser = build_parser()
    names = {vars(parser.parse_args(line)).get("task") for _, line in command_lines}
    assert {*SETUP["tasks"]} <= names


def test_the_text_before_every_command_is_quoted(tmp_path, monkeypatch):
    place = tmp_path / "a;>ran $(>ran)`>ran`'\"{word}" / "bin"
    monkeypatch.setattr(sys, "executable", str(place / "python"))
    before = Resources(Config(), Machine("cpu")).environment(place)
    printed = 'printf \'%s\\0\' "$SPEECHPROMPT_CHECKOUT" "$PATH"'
    done = subprocess.run(
        ["bash", "-c", before + printed], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    checkout, path, _ = done.stdout.split("\0")
    assert checkout == str(place)
    assert path.endswith(f":{place}")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("path", ["a{word}/t.csv", "{ seed }.csv", "{a,.*}.csv", "<results>/t.csv"])
def test_a_path_that_snakemake_would_replace_is_refused(tmp_path, path):
    values = {"corpora": {"mine": {"kind": "csv", "table": path}}}
    with pytest.raises(ConfigError, match=r"corpora\.mine\.table: Snakemake would replace"):
        load_config(values, REPOSITORY / "config.yaml", complete=True, are_files_here=False)


def test_a_model_that_no_longer_ships_is_told_with_the_one_that_does():
    values = {"lm": {"nano": {"weights": "unit-lm-nano-people.safetensors"}}}
    with pytest.raises(ConfigError, match=r"did you mean 'unit-lm-nano\.safetensors'"):
        load_config(values, REPOSITORY / "config.yaml", complete=False)


def test_a_name_on_the_hub_needs_a_revision(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    block = {"kind": "hubert", "checkpoint": "facebook/hubert-base-ls960", "layer": 6}
    setup, lm = {"encoders": {"mine": block}}, {"codebook": "nano100", "checkpoint": "some/lm"}

    def load(values, **options):
        return load_config(values, REPOSITORY / "config.yaml", complete=False, **options)

    with pytest.raises(ConfigError, match=r"^encoders\.mine\.checkpoint: .* needs `revision`"):
        load(setup)
    with pytest.raises(
        ConfigError, match=r"^lm\.mine\.checkpoint: no such file or folder: some/lm;"
    ):
        load({"lm": {"mine": lm}})
    load(setup, is_alone=False)  # another workflow may make a folder of that name
    (tmp_path / block["checkpoint"]).mkdir(parents=True)
    load(setup)
