"""Data sets of the Hugging Face hub: fetched by name and revision, and read as Parquet files."""

import io
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from hub_server import REPOSITORY, REVISION, SECRET, Hub, serve
from pipeline import snakemake
from small_run import record
from speechprompt.config import parse_config
from speechprompt.errors import ConfigError
from speechprompt.storage.files import read_json
from speechprompt.storage.hashes import sha256_file

SPLITS = ("train", "validation", "test")
FOLDER = f"resources/corpora/hub/{REPOSITORY.replace('/', '--')}/{REVISION}"


@pytest.fixture
def hub(tmp_path):
    """A data set with a file for each split."""
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    files = {"README.md": b"words"}
    for number, split in enumerate(SPLITS):
        paths = record(tmp_path / "wavs", 6, start=10 * number)
        cells = [{"bytes": path.read_bytes(), "path": path.name} for path in paths]
        table = pa.table({"audio": pa.array(cells, kind), "text": ["yes", "no"] * 3})
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        files[f"data/{split}-00000-of-00001.parquet"] = buffer.getvalue()
    shutil.rmtree(tmp_path / "wavs")
    with serve(Hub(files, is_data_set=True)) as hub:
        yield hub


@pytest.fixture
def fetch(fetch_with):
    """Fetch the data set into a folder; what is said if it fails."""

    def run(out="data set", repository=REPOSITORY, revision=REVISION, files=None, **variables):
        chosen = ["--files", files] if files else []
        return fetch_with("download-hub-corpus", out, repository, revision, *chosen, **variables)

    return run


def names(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.*"))


def test_its_parquet_files_are_fetched_and_recorded(fetch, hub, tmp_path):
    assert fetch() is None
    folder = tmp_path / "data set"
    parquet = sorted(name for name in hub.files if name.endswith(".parquet"))
    assert names(folder) == sorted([*parquet, "origin.json"])
    assert all((folder / name).read_bytes() == hub.files[name] for name in parquet)
    assert read_json(folder / "origin.json") == {"repository": REPOSITORY, "revision": REVISION}
    lines = [f"{sha256_file(folder / name)}  {name}" for name in parquet]
    assert (tmp_path / "data set.sha256").read_text().splitlines() == lines


def test_files_by_pattern(fetch, tmp_path):
    assert fetch(files="data/t*.parquet") is None
    assert len(names(tmp_path / "data set")) == 3
    assert "expected files more/*, found none in it" in fetch("more", files="more/*")


def test_the_record_says_which_files_there_are_without_a_network(fetch, hub, tmp_path):
    assert fetch() is None
    n_requests = len(hub.requests)
    shutil.copy(tmp_path / "data set.sha256", tmp_path / "again.sha256")
    assert fetch("again", HF_HUB_OFFLINE="1") is None
    assert names(tmp_path / "again") == names(tmp_path / "data set")
    assert "the list of files: cannot be fetched" in fetch("other", HF_HUB_OFFLINE="1")
    assert len(hub.requests) == n_requests


def test_what_the_record_enforces(fetch, hub, tmp_path):
    assert fetch() is None
    shutil.copy(tmp_path / "data set.sha256", tmp_path / "again.sha256")
    name = f"data/{SPLITS[0]}-00000-of-00001.parquet"
    hub.files[name] = hub.files[f"data/{SPLITS[1]}-00000-of-00001.parquet"]
    message = fetch("again", HF_HUB_CACHE=str(tmp_path / "other cache"))
    assert f"{name}: expected the SHA-256" in message


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"revision": "main"}, "revision: expected a commit (40 hexadecimal digits), found 'main'"),
        ({"revision": "f" * 40}, f"the data set has no revision {'f' * 40}"),
        ({"repository": "words"}, "repository: expected a name such as"),
        ({"repository": "someone/else"}, "has no such data set"),
    ],
)
def test_names_that_are_wrong(fetch, changes, message):
    assert message in fetch(**changes)


def test_a_token_and_a_name_that_leads_elsewhere(fetch, hub):
    hub.token = SECRET
    assert "set HF_TOKEN" in fetch()
    hub.files["../up.parquet"] = b"elsewhere"
    message = fetch(HF_TOKEN=SECRET)
    assert "../up.parquet" in message


PLACE = {"repository": REPOSITORY, "revision": REVISION}


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({}, "expected either `folder` or `repository`"),
        ({"folder": "here", **PLACE}, "expected either `folder` or `repository`"),
        ({"repository": REPOSITORY}, "`repository` and `revision` go together"),
        ({"folder": "here", "revision": REVISION}, "`repository` and `revision` go together"),
        ({**PLACE, "revision": "main"}, "revision: expected a commit"),
        ({**PLACE, "repository": "words"}, "repository: expected a name such as google/fleurs"),
    ],
)
def test_blocks_that_are_wrong(block, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({"corpora": {"mine": {"kind": "parquet", **block}}})


def test_other_patterns_have_other_folders():
    def folder(**more):
        config = parse_config({"corpora": {"mine": {"kind": "parquet", **PLACE, **more}}})
        return config.corpora["mine"].base

    assert folder() == FOLDER
    assert len({folder(), folder(files="a/*"), folder(files="b/*")}) == 3


@pytest.mark.slow
@pytest.mark.usefixtures("as_a_person")
def test_a_set_up_names_a_data_set_of_the_hub(hub, tmp_path):
    setup = {
        "corpora": {"mine": {"kind": "parquet", **PLACE}},
        "encoders": {"mfcc": {"kind": "mfcc", "sample_corpora": ["mine"]}},
        "codebooks": {"book": {"encoder": "mfcc", "n_units": 10}},
        "lm": {"small": {"codebook": "book", "corpora": ["mine"]}},
        "tasks": {"words": {"corpus": "mine", "lm": "small", "labels": ["text"]}},
    }
    (tmp_path / "set-up.yaml").write_text(yaml.safe_dump(setup))
    target, run = "results/units/book/mine/test/index.json", tmp_path / "run"
    options = {"configfile": tmp_path / "set-up.yaml"}
    snakemake(run, "--cores", "1", target, **options)
    assert (run / FOLDER).is_dir()
    table = pq.read_table(run / "results/manifests/mine/train.parquet")
    assert table["text"].to_pylist() == ["yes", "no"] * 3
    # A finished run has nothing to do, and asks nobody.
    n_requests, made = len(hub.requests), (run / target).stat().st_mtime_ns
    snakemake(run, "--cores", "1", target, **options)
    assert len(hub.requests) == n_requests
    assert (run / target).stat().st_mtime_ns == made
