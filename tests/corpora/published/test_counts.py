"""The published corpora as users meet them: through the configuration and the pipeline."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
import yaml

from pipeline import snakemake
from speechprompt.config import parse_config
from speechprompt.config.corpora import AnyCorpus, PublishedCorpus
from speechprompt.config.fields import members
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.errors import ConfigError


def test_every_published_kind_has_its_sources():
    kinds = {
        name for name, block in members(AnyCorpus).items() if issubclass(block, PublishedCorpus)
    }
    assert kinds == set(SOURCES)


def test_librispeech_subsets():
    corpus = {"kind": "librispeech", "train": ["train-clean-100", "train-other-500"]}
    parsed = parse_config({"corpora": {"asr": corpus}}).corpora["asr"]
    assert parsed.folders == ["train-clean-100", "train-other-500", "dev-clean", "test-clean"]
    for wrong, message in (
        ({"valid": ["dev-cleen"]}, r"asr\.valid\.0: .*'dev-cleen'"),
        ({"test": []}, r"asr\.test: .*at least 1"),
        ({"valid": ["train-other-500"]}, r"asr: the subset 'train-other-500' is named more"),
        ({"subsets": 3}, r"asr\.subsets: unknown key; accepted here: kind, listen, root, speeds"),
    ):
        with pytest.raises(ConfigError, match=message):
            parse_config({"corpora": {"asr": corpus | wrong}})


@pytest.mark.slow
def test_a_copy_goes_through_the_rules(tmp_path, speak):
    """LibriSpeech from a copy for real; Speech Commands, which would be downloaded, as a plan."""
    for subset in ("train-clean-100", "dev-clean", "test-clean"):
        folder = tmp_path / "copy/LibriSpeech" / subset / "1/2"
        speak(folder, "1-2-0000.flac", "1-2-0001.flac")
        (folder / "1-2.trans.txt").write_text("1-2-0000 ONE\n1-2-0001 IT'S TWO\n")
    corpora = {
        "asr": {"kind": "librispeech", "root": str(tmp_path / "copy")},
        "ks": {"kind": "speech_commands"},
    }
    (tmp_path / "setup.yaml").write_text(yaml.safe_dump({"corpora": corpora}))
    run, set_up = tmp_path / "run", {"configfile": tmp_path / "setup.yaml"}
    snakemake(run, "--cores", "1", "results/manifests/asr/train.parquet", **set_up)
    table = pq.read_table(tmp_path / "run/results/manifests/asr/test.parquet")
    assert table["text"].to_pylist() == ["ONE", "IT'S TWO"]
    wanted = [f"results/manifests/{name}/train.parquet" for name in ("asr", "ks")]
    done = snakemake(run, "-n", *wanted, **set_up)
    plan = done.stdout + done.stderr
    for folder in ("speech_commands_v0.01", "speech_commands_test_set_v0.01"):
        assert f"download-corpus --kind speech_commands --folders {folder} --out" in plan
    assert "prepare-corpus resources/corpora/ks/root --settings" in plan
    assert '"kind":"speech_commands","n_silence":5000' in plan
    assert "librispeech" not in plan
