"""Models from the Hugging Face hub, by its own library and a local server in place of the hub."""

import json
import sys

import huggingface_hub
import pytest
import yaml
from huggingface_hub import errors

from hub_server import REPOSITORY, REVISION, SECRET, Hub, serve
from pipeline import snakemake
from speechprompt.cli import main
from speechprompt.config import parse_config
from speechprompt.downloads.hub import download_hub_model
from speechprompt.errors import AssetError, ConfigError
from speechprompt.storage.files import read_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensor_metadata
from transformers_encoders import SMALL, build, write

FILES = {
    "config.json": b'{"model_type": "hubert"}',
    "preprocessor_config.json": b'{"do_normalize": false}',
    "model.safetensors": b"weights" * 1000,
    "pytorch_model.bin": b"the same weights, older",
    "README.md": b"what nobody asked for",
}
PARTS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = {"weight_map": {"a": PARTS[0], "b": PARTS[1], "c": PARTS[1]}}


@pytest.fixture
def hub():
    with serve(Hub(dict(FILES))) as hub:
        yield hub


@pytest.fixture
def fetch(fetch_with):
    """Fetch the model into a folder; what is said if it fails."""

    def run(out="model", repository=REPOSITORY, revision=REVISION, **variables):
        return fetch_with("download-hub-model", out, repository, revision, **variables)

    return run


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_what_an_import_reads_is_fetched_and_recorded(fetch, hub, tmp_path):
    assert fetch() is None
    model = tmp_path / "model"
    expected = ["config.json", "model.safetensors", "preprocessor_config.json"]
    assert names(model) == sorted([*expected, "origin.json"])
    assert all((model / name).read_bytes() == FILES[name] for name in expected)
    assert read_json(model / "origin.json") == {"repository": REPOSITORY, "revision": REVISION}
    lines = [f"{sha256_file(model / name)}  {name}" for name in expected]
    assert (tmp_path / "model.sha256").read_text().splitlines() == lines
    assert not any(path.endswith(("README.md", "pytorch_model.bin")) for _, path, _ in hub.requests)


def test_weights_in_other_forms(fetch, hub, tmp_path):
    del hub.files["model.safetensors"]
    assert fetch("pickle") is None
    assert "pytorch_model.bin" in names(tmp_path / "pickle")
    hub.files |= {name: name.encode() for name in PARTS}
    hub.files["model.safetensors.index.json"] = json.dumps(INDEX).encode()
    # The cache must not know yet that there is no index.
    variables = {"HF_HUB_CACHE": str(tmp_path / "other cache")}
    assert fetch("parts", **variables) is None
    assert set(PARTS) < set(names(tmp_path / "parts"))
    del hub.files[PARTS[1]]
    variables = {"HF_HUB_CACHE": str(tmp_path / "third cache")}
    message = f"model.safetensors.index.json lists {PARTS[1]}, found none in it"
    assert message in fetch("broken", **variables)


def test_without_a_network_the_cache_is_enough(fetch, hub, tmp_path):
    assert fetch() is None
    n_requests = len(hub.requests)
    assert fetch("offline", HF_HUB_OFFLINE="1") is None
    assert fetch("elsewhere", HF_ENDPOINT="http://127.0.0.1:9") is None
    assert len(hub.requests) == n_requests
    for folder in ("offline", "elsewhere"):
        assert names(tmp_path / folder) == names(tmp_path / "model")
    empty = {"HF_HUB_CACHE": str(tmp_path / "empty")}
    message = fetch("nothing", HF_HUB_OFFLINE="1", **empty)
    assert "found no config.json in the cache" in message
    assert "HF_HUB_OFFLINE" in message


def test_a_host_that_does_not_answer(tmp_path, monkeypatch):
    def refuse(*arguments, **settings):
        raise errors.LocalEntryNotFoundError("perhaps no connection") from OSError("refused\nhere")

    # Its library tries again for half a minute.
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    message = r"config\.json: https?://\S+ does not answer \(refused\), and it is not in the cache"
    with pytest.raises(AssetError, match=message):
        download_hub_model(REPOSITORY, REVISION, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_tokens(fetch, hub):
    hub.token = SECRET
    message = fetch()
    assert "does not give it without a token that may read it" in message
    assert "set HF_TOKEN" in message
    assert fetch(HF_TOKEN=SECRET) is None
    assert {token for _, path, token in hub.requests if "/resolve/" in path} == {
        None,
        f"Bearer {SECRET}",
    }


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_another_content_than_the_hub_states(fetch, hub, name, tmp_path):
    content = hub.files[name]
    hub.sends[name] = content[:-1] + b"!"
    message = fetch()
    assert f"{name}: expected the hash {hub.etag(name)}, which the hub states, found" in message
    # The wrong file is in the hub's cache, which the message names.
    (blob,) = (tmp_path / "cache").rglob(hub.etag(name))
    assert f"remove {blob} to fetch it again" in message
    blob.unlink()
    hub.sends.clear()
    assert fetch() is None


def test_a_record_is_enforced(fetch, hub, tmp_path):
    """The hub may state whatever hash fits what it sends; the first sums stay."""
    assert fetch() is None
    record = (tmp_path / "model.sha256").read_text()
    hub.files["model.safetensors"] = b"other weights"
    (tmp_path / "again.sha256").write_text(record)
    other = {"HF_HUB_CACHE": str(tmp_path / "other cache")}
    message = fetch("again", **other)
    assert "model.safetensors: expected the SHA-256" in message
    assert "(recorded), found" in message
    assert f"remove {tmp_path / 'again.sha256'} if you trust what is there now" in message
    assert (tmp_path / "again.sha256").read_text() == record
    (tmp_path / "again.sha256").write_text("nothing\n")
    assert "expected lines 'SHA-256  name'" in fetch("again", **other)


def test_a_folder_that_is_there_is_checked(fetch, hub, tmp_path):
    assert fetch() is None
    n_requests = len(hub.requests)
    assert fetch() is None
    assert len(hub.requests) == n_requests
    (tmp_path / "model/config.json").write_text("{}")
    with pytest.raises(AssetError, match="remove the folder to fetch it again"):
        download_hub_model(REPOSITORY, REVISION, tmp_path / "model")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"revision": "main"}, "revision: expected a commit (40 hexadecimal digits), found 'main'"),
        ({"revision": "f" * 40}, f"the model has no revision {'f' * 40}"),
        ({"repository": "hubert"}, "repository: expected a name such as facebook/hubert-base"),
        ({"repository": "../up/down"}, "repository: expected a name such as"),
        ({"repository": "someone/else"}, "has no such model"),
    ],
)
def test_names_that_are_wrong(fetch, changes, message):
    assert message in fetch(**changes)


def test_what_is_no_model(fetch, hub, tmp_path):
    del hub.files["model.safetensors"], hub.files["pytorch_model.bin"]
    assert "expected weights (model.safetensors, " in fetch()
    del hub.files["config.json"]
    other = {"HF_HUB_CACHE": str(tmp_path / "other cache")}
    assert "expected a model of transformers, found no config.json in it" in fetch(**other)


def test_a_server_of_another_revision(fetch, hub):
    hub.revision = "f" * 40
    assert f"expected revision {REVISION}, found {'f' * 40}" in fetch()


def test_a_cache_without_links(fetch):
    assert "on a file system with links" in fetch(HF_HUB_DISABLE_SYMLINKS="1")


def test_without_the_library(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    words = [REPOSITORY, "--revision", REVISION, "--out", str(tmp_path / "model")]
    assert main(["download-hub-model", *words]) == 1
    assert "install it: pip install huggingface_hub" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"checkpoint": REPOSITORY, "revision": "main"}, "revision: expected a commit"),
        ({"checkpoint": "a/b/c", "revision": REVISION}, "the name of a model on the Hugging Face"),
        ({"weights": "m.safetensors", "revision": REVISION}, "revision: goes with a checkpoint"),
        (
            {"checkpoint": "hubert_base_ls960.pt", "revision": REVISION},
            "revision: goes with a checkpoint",
        ),
        (
            {"checkpoint": REPOSITORY, "revision": REVISION, "trust": True},
            "trust: a model of the hub never runs code",
        ),
        (
            {"checkpoint": REPOSITORY, "revision": REVISION, "root": "models"},
            "root: goes with a published checkpoint",
        ),
    ],
)
def test_blocks_that_are_wrong(block, message):
    with pytest.raises(ConfigError, match=message):
        parse_config({"encoders": {"mine": {"kind": "hubert", **block}}})


@pytest.mark.slow
@pytest.mark.usefixtures("as_a_person")
def test_a_set_up_names_a_model_of_the_hub(hub, tmp_path):
    """It is fetched and imported; the imported file says where it is from."""
    theirs = write(build("hubert", SMALL), tmp_path / "theirs", False)
    hub.files.clear()
    hub.files.update({path.name: path.read_bytes() for path in theirs.iterdir()})
    block = {"kind": "hubert", "checkpoint": REPOSITORY, "revision": REVISION, "layer": 2}
    (tmp_path / "set-up.yaml").write_text(yaml.safe_dump({"encoders": {"mine": block}}))
    target, run = "resources/models/mine/model.safetensors", tmp_path / "run"
    options = {"configfile": tmp_path / "set-up.yaml"}
    snakemake(run, "--cores", "1", target, **options)
    fetched = f"resources/models/hub/someone--hubert-tiny/{REVISION}"
    assert (run / fetched).is_dir()
    source = read_tensor_metadata(run / target)["source"]
    assert (source["repository"], source["revision"]) == (REPOSITORY, REVISION)
    assert source["sha256"]["config.json"] == sha256_file(theirs / "config.json")
    # A finished run has nothing to do, and asks nobody.
    n_requests = len(hub.requests)
    snakemake(run, "--cores", "1", target, **options)
    assert len(hub.requests) == n_requests
