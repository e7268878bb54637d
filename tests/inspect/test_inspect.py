"""What artefacts say about themselves, and the picture of an utterance."""

import datetime
import json
import re
import shutil
import struct
from dataclasses import asdict

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.colors import to_hex

from every_stage import SPLIT, write_every_stage
from speechprompt.cli import main
from speechprompt.errors import ArtefactError, CorpusError
from speechprompt.inspect.artefacts import inspect_artefact
from speechprompt.inspect.text import cell, describe_inspection
from speechprompt.inspect.utterances import find_utterance, plot_utterance
from speechprompt.storage.hashes import sha256_file


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Every stage up to the units, a finished task, predictions and metrics."""
    return write_every_stage(tmp_path_factory.mktemp("run"))


def names_of(run):
    table = pa.concat_tables(pq.read_table(path) for path in sorted((run / SPLIT).glob("part*")))
    return table["utt_id"].to_pylist()


@pytest.mark.parametrize(
    ("path", "kind", "count"),
    [
        ("results/manifests/mine/train.parquet", "manifest of a split", {"rows": 12}),
        ("results/manifests/mine/rejects.parquet", "recordings that were rejected", {"rows": 0}),
        ("results/features/mfcc/mine/train/part-0.parquet", "features of a shard", {"rows": 6}),
        ("results/features/mfcc/sample.parquet", "sample of frames", {"rows": 150}),
        ("results/codebooks/book.safetensors", "codebook", {"tensors": 1, "numbers": 390}),
        (f"{SPLIT}/part-00001-of-00002.parquet", "units of a shard", {"rows": 6}),
        (SPLIT, "units of a split", {"rows": 12, "parts": 2}),
        ("results/lm/tiny/model.safetensors", "unit LM", {}),
        ("results/ks/prompt.safetensors", "prompt", {"tensors": 4}),
        ("results/ks", "what a finished task needs to answer audio", {}),
        ("results/ks/predictions.parquet", "predictions", {"rows": 12}),
        ("results/ks/metrics.json", "metrics", {}),
    ],
)
def test_every_artefact_is_known(run, path, kind, count):
    found = inspect_artefact(run / path)
    assert found.kind == kind
    assert count.items() <= found.facts.items()
    assert found.facts["sha256"] == sha256_file(found.path)
    text = describe_inspection(found)
    assert text.startswith(f"{found.path}: {kind}\n")
    assert found.facts["sha256"] in text
    if found.path.endswith(".parquet"):
        table = pq.read_table(found.path)
        assert list(found.schema) == table.column_names
        assert found.rows == table.slice(0, 5).to_pylist()
    json.dumps(asdict(found))


def test_shipped_models_and_curves_are_known(tmp_path):
    from speechprompt.models.shipped import shipped_model
    from speechprompt.storage.parquet import write_parquet

    assert inspect_artefact(shipped_model("hubert-nano.safetensors")).kind == "encoder (hubert)"
    curve = {"epoch": [1], "split": ["train"], "loss": [2.0], "lr": [0.1]}
    write_parquet(tmp_path / "curve.parquet", pa.table(curve))
    assert inspect_artefact(tmp_path / "curve.parquet").kind == "learning curve"
    write_parquet(tmp_path / "other.parquet", pa.table({"a": [1]}))
    assert inspect_artefact(tmp_path / "other.parquet").kind == "table"


def test_provenance_says_what_is_here_and_what_is_not(run, tmp_path):
    copy = shutil.copytree(run, tmp_path / "run")
    index = inspect_artefact(copy / SPLIT).provenance
    assert index["codebook"].endswith("codebooks/book.safetensors")
    assert index["part-00000-of-00002.parquet"].endswith(
        "= " + str((copy / SPLIT / "part-00000-of-00002.parquet").resolve())
    )
    prompt = inspect_artefact(copy / "results/ks/prompt.safetensors").provenance
    assert prompt["unit LM"].endswith("lm/tiny/model.safetensors")
    assert inspect_artefact(copy / "results/ks").provenance["prompt"].endswith("prompt.safetensors")
    parts = sorted((copy / SPLIT).glob("part-*"))
    shutil.copyfile(parts[0], parts[1])
    (copy / "results/codebooks/book.safetensors").unlink()
    (copy / "results/lm/tiny/model.safetensors").write_bytes(b"another")
    index = inspect_artefact(copy / SPLIT).provenance
    assert index["codebook"].endswith("not found here")
    assert index["part-00001-of-00002.parquet"].endswith("has another")
    assert inspect_artefact(copy / "results/ks").provenance["unit LM"].endswith("has another")
    parts[0].unlink()
    index = inspect_artefact(copy / SPLIT)
    assert index.provenance["part-00000-of-00002.parquet"].endswith("is missing")
    assert index.rows == []


def damage_last_group(source, out, column=b"speaker"):
    """A shard of many row groups whose last one cannot be decoded."""
    table = pq.read_table(source)
    many = pa.concat_tables([table] * 50)
    pq.write_table(many.replace_schema_metadata(table.schema.metadata), out, row_group_size=6)
    groups = pq.ParquetFile(out).metadata
    last = groups.row_group(groups.num_row_groups - 1)
    content = bytearray(out.read_bytes())
    for i in range(last.num_columns):
        start = last.column(i).dictionary_page_offset or last.column(i).data_page_offset
        end = start + last.column(i).total_compressed_size
        content[start:end] = b"\xff" * (end - start)
    out.write_bytes(content)


def test_a_shard_is_not_read_whole(run, tmp_path):
    out = tmp_path / "part.parquet"
    damage_last_group(run / SPLIT / "part-00000-of-00002.parquet", out)
    with pytest.raises((OSError, pa.ArrowException)):
        pq.read_table(out)
    found = inspect_artefact(out)
    assert found.facts["rows"] == 300
    assert found.facts["row_groups"] == 50
    assert len(found.rows) == 5
    name = found.rows[3]["utt_id"]
    assert (
        find_utterance(out, name).row
        == pq.read_table(run / SPLIT / "part-00000-of-00002.parquet").to_pylist()[3]
    )


def test_a_prompt_is_inspected_by_its_header(run, tmp_path):
    content = (run / "results/ks/prompt.safetensors").read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    cut = tmp_path / "prompt.safetensors"
    cut.write_bytes(content[: 8 + length])
    found = inspect_artefact(cut)
    assert found.metadata["verbalizer"]["kind"] == "learnable"
    assert found.schema["separator"] == "F32 [32]"


def test_what_is_no_artefact_says_so(tmp_path):
    with pytest.raises(ArtefactError, match="file not found"):
        inspect_artefact(tmp_path / "none.parquet")
    with pytest.raises(ArtefactError, match=r"expected a folder with index\.json"):
        inspect_artefact(tmp_path)
    for name, message in {
        "a.txt": "expected one of .parquet",
        "a.parquet": "not a readable Parquet",
        "a.safetensors": "not a readable safetensors",
        "a.json": "cannot be read as JSON",
    }.items():
        (tmp_path / name).write_bytes(b"?")
        with pytest.raises(ArtefactError, match=message):
            inspect_artefact(tmp_path / name)


def test_the_command_prints_text_or_json(run, capsys):
    path = str(run / SPLIT)
    assert main(["inspect", path, "--rows", "2"]) == 0
    text = capsys.readouterr().out
    assert "units of a split" in text
    assert "list<int16>" in text
    assert text.count(".wav") == 2
    assert main(["inspect", path, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["facts"]["rows"] == 12
    assert main(["inspect", path, "--picture", "a.png"]) == 1
    assert "go with --utterance" in capsys.readouterr().err
    assert main(["inspect", str(run / "results/ks"), "--utterance", "a"]) == 1
    assert "expected an index of units" in capsys.readouterr().err


def test_columns_that_json_cannot_express_are_printed(run, tmp_path, capsys):
    recording = {"bytes": b"RIFF" * 300, "path": "a.wav"}
    day = datetime.datetime(2020, 1, 2)
    columns = {"audio": pa.array([recording]), "day": pa.array([day])}
    pq.write_table(pa.table(columns), tmp_path / "train.parquet")
    assert main(["inspect", str(tmp_path / "train.parquet"), "--json"]) == 0
    expected = {"audio": {"bytes": "1,200 bytes", "path": "a.wav"}, "day": "2020-01-02 00:00:00"}
    assert json.loads(capsys.readouterr().out)["rows"] == [expected]
    units = pq.read_table(next((run / SPLIT).glob("part*"))).slice(0, 1)
    units = units.append_column("audio", columns["audio"])
    pq.write_table(units, tmp_path / "part.parquet")
    name = units["utt_id"][0].as_py()
    assert main(["inspect", str(tmp_path / "part.parquet"), "--utterance", name, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["audio"]["bytes"] == "1,200 bytes"


def test_cells_are_short():
    assert cell([1, 2, 3]) == "[1 2 3]"
    assert cell(list(range(50))).endswith("… 50 in all]")
    assert cell([[0.5, 1.0], [1.0, 2.0]]) == "[2 x 2]"
    assert cell("x" * 100).endswith("…")
    assert cell(None) == "-"
    assert cell(0.123456) == "0.1235"


@pytest.mark.parametrize("number", [0, 7])
def test_the_picture_shows_what_the_shard_says(run, tmp_path, monkeypatch, number):
    """Bars of units as long as their frames, under a waveform of the recording's length."""
    from speechprompt.inspect import utterances
    from speechprompt.report import pictures as report
    from speechprompt.report.listening import unit_colour

    name = names_of(run)[number]
    utterance = find_utterance(run / SPLIT, name)
    seen = {}
    draw = utterances._draw_units

    def spied(axes, *rest):
        draw(axes, *rest)
        seen["bars"] = list(axes.patches)
        seen["panels"] = axes.figure.axes
        seen["title"] = axes.figure

    monkeypatch.setattr(utterances, "_draw_units", spied)
    out = tmp_path / "a.png"
    plot_utterance(utterance, out, predictions=run / "results/ks/predictions.parquet")
    bars = seen["bars"]
    colours = [to_hex(bar.get_facecolor()) for bar in bars]
    assert colours == [unit_colour(unit) for unit in utterance.row["units"]]
    lasts = np.array(utterance.row["durations"]) / 50
    assert np.allclose([bar.get_width() for bar in bars], lasts)
    assert np.allclose([bar.get_x() for bar in bars], np.cumsum(lasts) - lasts)
    labels = [panel.get_ylabel() for panel in seen["panels"]]
    assert labels == ["amplitude", "frequency (kHz)", "units of\nbook"]
    assert seen["panels"][2].get_xlabel() == "time (s)"
    title = seen["title"].get_suptitle()
    assert f"reference: yes\nprediction: {'yes' if number else 'no'} (p = 0.5)" in title
    picture = report.plt.imread(out)
    assert picture.shape[:2] == (800, 800)
    assert picture.std() > 0.05


def test_a_picture_without_its_recording_says_where_it_looked(run, tmp_path, capsys):
    name = names_of(run)[0]
    out = tmp_path / "a.png"
    alone = shutil.copytree(run / SPLIT, tmp_path / "units")
    words = ["inspect", str(alone), "--utterance", name, "--picture", str(out)]
    assert main(words) == 1
    assert "--root" in capsys.readouterr().err
    assert not out.exists()
    assert main([*words, "--root", str(run / "resources/corpora/mine")]) == 0
    assert out.exists()
    assert name in capsys.readouterr().out
    with pytest.raises(CorpusError, match="looked for"):
        plot_utterance(find_utterance(alone, name), out, root=tmp_path)
    with pytest.raises(ArtefactError, match="no utterance 'none' among 12"):
        find_utterance(alone, "none")


def test_ready_units_have_no_picture(run, tmp_path):
    table = pq.read_table(run / SPLIT / "part-00000-of-00002.parquet")
    bare = {name: table[name] for name in table.column_names}
    bare |= dict.fromkeys(("path", "durations", "n_frames"), pa.nulls(len(table)))
    pq.write_table(pa.table(bare, schema=table.schema), tmp_path / "bare.parquet")
    utterance = find_utterance(tmp_path / "bare.parquet", table["utt_id"][0].as_py())
    with pytest.raises(ArtefactError, match="without durations"):
        plot_utterance(utterance, tmp_path / "a.png")
    with pytest.raises(CorpusError, match="without a recording"):
        utterance.audio_path()


@pytest.mark.parametrize("library", ["pandas", "pyarrow", "duckdb"])
def test_the_page_shows_code_that_runs(run, repository, monkeypatch, capsys, library):
    page = (repository / "docs/inspect.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    code = next(block for block in blocks if block.startswith(f"import {library}"))
    code = code.replace("nano100/keywords/test", "book/mine/train")
    code = code.replace("nano100/keywords", "book/mine")
    monkeypatch.chdir(run)
    exec(code, {})
    printed = capsys.readouterr().out
    expected = {"pandas": "mean", "pyarrow": "codebook_sha256", "duckdb": "audio/000"}
    assert expected[library] in printed
