"""Kaldi's and the hub's forms through the rules, up to units."""

import json
import os

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
import yaml

from pipeline import planned, snakemake
from small_run import RATE, record, sound

pytestmark = pytest.mark.slow
SPLITS = ("train", "valid", "test")
INDEXES = [f"results/units/book/{corpus}/train/index.json" for corpus in ("piped", "hub")]


def write_setup(folder):
    """Recordings behind commands, others in Parquet files, and a codebook on both."""
    (folder / "hub").mkdir(parents=True)
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    for number, split in enumerate(SPLITS):
        paths = record(folder / "wavs", 4, start=10 * number)
        data = folder / "data" / split
        data.mkdir(parents=True)
        scp = [f"{path.stem} cat wavs/{path.name} |\n" for path in paths[:2]]
        scp += [f"{path.stem} wavs/{path.name}\n" for path in paths[2:]]
        (data / "wav.scp").write_text("".join(scp))
        (data / "text").write_text("".join(f"{path.stem} yes\n" for path in paths))
        cells = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
        table = pa.table({"audio": pa.array(cells, kind), "text": ["yes"] * 4})
        pq.write_table(table, folder / f"hub/{split}-00000-of-00001.parquet")
    data = {split: f"data/{split}" for split in SPLITS}
    corpora = {
        "piped": {"kind": "kaldi", "trust": True, **data},
        "hub": {"kind": "parquet", "folder": "hub"},
    }
    setup = {
        "shards": 2,
        "corpora": corpora,
        "encoders": {"mfcc": {"kind": "mfcc", "sample_corpora": ["piped"]}},
        "codebooks": {"book": {"encoder": "mfcc", "n_units": 10}},
    }
    path = folder / "setup.yaml"
    path.write_text(yaml.safe_dump(setup))
    return path


def units(folder, index):
    parts = json.loads((folder / index).read_text())["parts"]
    tables = [pq.read_table((folder / index).with_name(part["name"])) for part in parts]
    return pa.concat_tables(tables).select(["utt_id", "units", "durations", "text"])


def test_both_forms_have_the_same_units(tmp_path):
    setup = write_setup(tmp_path)
    snakemake(tmp_path, "--cores", "1", *INDEXES, configfile=setup)
    piped, hub = (units(tmp_path, index) for index in INDEXES)
    assert len(piped) == 4
    assert piped.equals(hub)
    made = sorted((tmp_path / "resources/corpora/piped/made").rglob("*.wav"))
    assert [path.name for path in made[:2]] == ["020.wav", "021.wav"]
    assert not planned(tmp_path, *INDEXES, configfile=setup)
    # Replaced in place, a recording is read again.
    changed = tmp_path / "wavs/003.wav"
    soundfile.write(changed, sound(99, 0.5), RATE)
    os.utime(changed, (1, 1))
    again = planned(tmp_path, *INDEXES, configfile=setup)
    assert {"prepare_commands", "quantize_units"} <= again
    assert "prepare_corpus" not in again
