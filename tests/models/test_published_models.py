"""Published models in the pipeline: downloaded, verified, imported and used by its own rules."""

import hashlib
import io
import itertools
import json
import zipfile
from argparse import Namespace

import joblib
import numpy as np
import pytest
import yaml
from faults.archives import pack_tar
from publishing import SMALL, build_hubert, publish
from sklearn.cluster import KMeans

from pipeline import REPOSITORY, planned, snakemake
from random_models import random_lm
from speechprompt.config import parse_config, read_config
from speechprompt.lm.fairseq import to_fairseq
from speechprompt.storage.tensors import read_tensors
from speechprompt.workflow.plan import Plan

N_UNITS = 20
# Takes the place of the table of published files in every process of a run.
SITE = """
import json, os, dataclasses
from speechprompt.downloads.assets import ASSETS
with open(os.environ["PUBLISHED"]) as stream:
    for name, change in json.load(stream).items():
        ASSETS[name] = dataclasses.replace(ASSETS[name], **change)
"""
SET_UP = {
    "seeds": [1],
    "compute_threads": 1,
    "shards": 1,
    "corpora": {"keywords": {"kind": "synthetic", "n_train": 24, "n_valid": 12, "n_test": 12}},
    "encoders": {"hubert": {"kind": "hubert", "checkpoint": "hubert_base_ls960.pt", "layer": 2}},
    "codebooks": {"km": {"encoder": "hubert", "checkpoint": "hubert_km50.bin"}},
    "lm": {"gslm": {"codebook": "km", "checkpoint": "hubert50_lm.tgz"}},
    "tasks": {"ks": {"corpus": "keywords", "lm": "gslm", "training": {"max_epochs": 1}}},
}


def published_files(folder, n_units=N_UNITS, encoder_layers=3):
    """Small models with random weights, in the form of the published ones."""
    model, config = build_hubert(**SMALL | {"encoder_layers": encoder_layers})
    hubert = publish(folder / "hubert.pt", model.state_dict(), cfg=config)
    frames = np.random.default_rng(0).normal(size=(400, SMALL["encoder_embed_dim"]))
    joblib.dump(KMeans(n_units, random_state=0, n_init=1).fit(frames), folder / "km.bin")
    lm = random_lm(n_units=n_units)
    args = Namespace(
        arch="transformer_lm_big",
        activation_fn="relu",
        decoder_layers=lm.config.layers,
        decoder_attention_heads=lm.config.heads,
        decoder_embed_dim=lm.config.dim,
        decoder_input_dim=lm.config.dim,
        decoder_output_dim=lm.config.dim,
        decoder_ffn_embed_dim=lm.config.ffn,
        decoder_normalize_before=True,
        share_decoder_input_output_embed=True,
        tokens_per_sample=lm.config.max_positions,
        max_target_positions=None,
    )
    checkpoint = publish(folder / "lm.pt", to_fairseq(lm), args=args, legacy=True)
    words = "".join(f"{unit} {9 + unit}\n" for unit in reversed(range(n_units)))
    archive = pack_tar(
        {
            "lm/checkpoint_best.pt": checkpoint.read_bytes(),
            "lm/dict.txt": words.encode(),
        }
    )
    return hubert.read_bytes(), (folder / "km.bin").read_bytes(), archive


def pack_zip(files):
    """Files by their paths as zip."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as stream:
        for name, content in files.items():
            stream.writestr(name, content)
    return archive.getvalue()


@pytest.fixture
def offer(host, tmp_path, monkeypatch):
    """Serve files in place of the published ones, in every process of a run."""

    def serve(files, unpublished=()):
        table = {
            name: {
                "url": host.serve(name, content),
                "sha256": None if name in unpublished else hashlib.sha256(content).hexdigest(),
                "size": None,
            }
            for name, content in files.items()
        }
        (tmp_path / "sitecustomize.py").write_text(SITE)
        (tmp_path / "table.json").write_text(json.dumps(table))
        monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=":")
        monkeypatch.setenv("PUBLISHED", str(tmp_path / "table.json"))
        return files

    return serve


@pytest.fixture
def published(offer, tmp_path):
    """Small models, and a set-up that uses them."""
    names = ("hubert_base_ls960.pt", "hubert_km50.bin", "hubert50_lm.tgz")
    (tmp_path / "set-up.yaml").write_text(yaml.safe_dump(SET_UP))
    files = dict(zip(names, published_files(tmp_path), strict=True))
    return offer(files, unpublished=("hubert50_lm.tgz",))


def test_models_are_downloaded_imported_and_used(published, host, tmp_path):
    host.cut_after.append(1000)
    options = {"configfile": tmp_path / "set-up.yaml"}
    run = tmp_path / "run"
    # One job at a time, so that the connection that is cut is known.
    snakemake(run, "--cores", "1", "results/ks/acc.txt", **options)
    assert host.requests.count("bytes=1000-") == 1
    assert len(host.requests) == len(published) + 1
    metadata = read_tensors(run / "results/lm/gslm/model.safetensors")[1]
    assert metadata["dictionary"] == list(reversed(range(N_UNITS)))
    metrics = json.loads((run / "results/ks/metrics.json").read_text())
    assert metrics["splits"]["test"]["acc"]["n"] == 12
    record = run / "resources/models/published/hubert50_lm.tgz.sha256"
    assert hashlib.sha256(published["hubert50_lm.tgz"]).hexdigest() in record.read_text()
    assert not planned(run, "--cores", "1", "results/ks/acc.txt", **options)


def test_another_file_than_the_published_one_is_refused(published, host, tmp_path):
    host.serve("hubert_km50.bin", published["hubert_km50.bin"][:-1] + b"!")
    target = "resources/models/published/hubert_km50.bin"
    options = {"configfile": tmp_path / "set-up.yaml"}
    done = snakemake(tmp_path, "--cores", "1", "--retries", "0", target, check=False, **options)
    assert done.returncode
    log = tmp_path / "logs/download_model/hubert_km50.bin.log"
    assert "expected the SHA-256" in log.read_text()
    assert not (tmp_path / target).exists()


@pytest.mark.parametrize(("name", "encoder"), [("paper", "hubert"), ("paper-cpc", "cpc")])
def test_the_papers_plan_is_whole(tmp_path, name, encoder):
    rules = planned(tmp_path, "all", configfile=f"configs/{name}.yaml")
    assert rules >= {
        *("download_model", "import_encoder", "import_codebook", "import_unit_lm"),
        *("download_corpus", "prepare_corpus", "extract_features", "train_prompt", "write_table"),
    }
    assert not rules & {"fit_codebook", "pretrain_unit_lm", "sample_frames"}


CORPORA = {
    "speech_commands_v0.01.tar.gz": pack_tar({"./_background_noise_/pink.wav": b"noise"}),
    "speech_commands_test_set_v0.01.tar.gz": pack_tar({"./_silence_/tap.wav": b"silence"}),
    "fluent.tar.gz": pack_tar({"fluent_speech_commands_dataset/data/train_data.csv": b"path"}),
    **{
        f"{subset}.tar.gz": pack_tar({f"LibriSpeech/{subset}/1/2/1-2.trans.txt": b"1-2-0000 ONE"})
        for subset in ("train-clean-100", "dev-clean", "test-clean")
    },
    "snips.zip": pack_zip({"SNIPS/all.iob.snips.txt": b"a b"}),
}


@pytest.mark.slow
def test_the_papers_downloads_and_imports_run(offer, host, tmp_path):
    """Of configs/paper.yaml itself, with small files in the place of the published ones."""
    names = ("hubert_base_ls960.pt", "hubert_km100.bin", "hubert100_lm.tgz")
    models = published_files(tmp_path, n_units=100, encoder_layers=6)
    files = offer(
        {**dict(zip(names, models, strict=True)), **CORPORA}, unpublished=("fluent.tar.gz",)
    )
    host.cut_after.append(100)
    corpora = Plan(parse_config(read_config(REPOSITORY / "configs/paper.yaml"))).corpora
    folders = [corpora.listing(Namespace(corpus=name)) for name in corpora.config.corpora]
    run = tmp_path / "run"
    snakemake(
        *(run, "--cores", "1", "results/lm/gslm/model.safetensors"),
        *itertools.chain.from_iterable(folders),
        configfile="configs/paper.yaml",
    )
    assert host.requests.count("bytes=100-") == 1
    assert len(host.requests) == len(files) + 1
    centroids, _ = read_tensors(run / "results/codebooks/hubert100.safetensors")
    assert centroids["centroids"].shape == (100, SMALL["encoder_embed_dim"])
    _, metadata = read_tensors(run / "results/lm/gslm/model.safetensors")
    assert metadata["dictionary"] == list(reversed(range(100)))
    assert (run / "resources/corpora/librispeech/dev-clean/1/2/1-2.trans.txt").is_file()
    assert (run / "resources/corpora/librispeech/root/dev-clean/1/2/1-2.trans.txt").is_file()
