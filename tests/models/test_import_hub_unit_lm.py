"""Unit LMs of transformers: the scores of the library that wrote them, and what is refused."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from transformers import OPTConfig, OPTForCausalLM

from pipeline import REPOSITORY, snakemake
from random_models import CODEBOOK, random_units, write_lm
from speechprompt.cli import main
from speechprompt.errors import ArtefactError
from speechprompt.lm import load_lm
from speechprompt.lm.dictionary import END, N_SPECIALS
from speechprompt.lm.packing import pack
from speechprompt.models.exporting.unit_lm import export_unit_lm
from speechprompt.models.importing.unit_lm import import_unit_lm
from speechprompt.storage.files import read_json
from speechprompt.storage.tensors import read_tensors

N_UNITS = 20
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
SMALL = {"hidden_size": 32, "word_embed_proj_dim": 32, "ffn_dim": 48, "num_hidden_layers": 3}
SMALL |= {"num_attention_heads": 2, "max_position_embeddings": 64, "vocab_size": 2 + N_UNITS}


def opt(folder, seed=0, **changes):
    """A random OPT that transformers wrote."""
    torch.manual_seed(seed)
    model = OPTForCausalLM(OPTConfig(**SPECIAL | SMALL | changes)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape))
    model.save_pretrained(folder)
    return model


def imported(folder, n_units=N_UNITS):
    out = folder.with_suffix(".safetensors")
    import_unit_lm(folder, out, codebook_sha256=CODEBOOK, n_units=n_units)
    return load_lm(out, CODEBOOK)


def scores_of(lm, sentences):
    packed = pack([lm.dictionary.ids(units) for units in sentences])
    with torch.no_grad():
        return lm.model.logits(lm.model(packed)).index_select(0, packed.answers)


def check_scores(lm, theirs, sentences, first):
    """Scores of begin and end and of the units, after every unit."""
    with torch.no_grad():
        found = [theirs(torch.tensor(first + units)[None]).logits[0] for units in sentences]
    wanted = torch.cat(found)[:, [1, *range(first, first + N_UNITS)]]
    ours = scores_of(lm, sentences)[:, [END, *range(N_SPECIALS, N_SPECIALS + N_UNITS)]]
    torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-5)


def test_opt_gives_the_scores_that_transformers_gives(tmp_path):
    theirs = opt(tmp_path / "opt")
    lm = imported(tmp_path / "opt")
    assert lm.model.config.learned_positions
    check_scores(lm, theirs, random_units(8), first=2)


@pytest.mark.slow
def test_opt_of_125m_parameters(tmp_path):
    shape = {"hidden_size": 768, "word_embed_proj_dim": 768, "ffn_dim": 3072}
    shape |= {"num_hidden_layers": 12, "num_attention_heads": 12, "max_position_embeddings": 2048}
    torch.manual_seed(0)
    theirs = OPTForCausalLM(OPTConfig(**SPECIAL | SMALL | shape)).eval()
    theirs.save_pretrained(tmp_path / "opt")
    check_scores(imported(tmp_path / "opt"), theirs, random_units(4), first=2)


def test_a_model_inside_slamkits_is_found(tmp_path):
    theirs = opt(tmp_path / "opt")
    wrapped = tmp_path / "slam"
    wrapped.mkdir()
    base = json.loads((tmp_path / "opt/config.json").read_text())
    outer = {"model_type": "speech_language_model", "vocab_size": 22, "base_config": base}
    (wrapped / "config.json").write_text(json.dumps(outer))
    tensors = load_file(tmp_path / "opt/model.safetensors")
    tensors = {f"lm.{name}": tensor for name, tensor in tensors.items()}
    save_file(tensors, wrapped / "model.safetensors")
    check_scores(imported(wrapped), theirs, random_units(5), first=2)


def test_what_is_exported_comes_back(tmp_path):
    path = write_lm(tmp_path / "lm.safetensors", n_units=N_UNITS)
    export_unit_lm(path, tmp_path / "lm")
    before, after = load_lm(path), imported(tmp_path / "lm")
    sentences = random_units(6)
    # The units' rows are in another order now, and their scores the same.
    order = [before.dictionary.ids([unit])[0] for unit in range(N_UNITS)]
    torch.testing.assert_close(
        scores_of(after, sentences)[:, N_SPECIALS:], scores_of(before, sentences)[:, order]
    )


def test_an_opt_survives_being_saved_and_is_trained_whole(tmp_path):
    opt(tmp_path / "opt")
    lm = imported(tmp_path / "opt")
    tensors, metadata = read_tensors(tmp_path / "opt.safetensors")
    assert tensors["embed_positions.weight"].shape == (64, 32)
    assert metadata["architecture"]["learned_positions"] is True
    assert metadata["source"]["folder"] == "opt"
    assert {"config.json", "model.safetensors"} <= metadata["source"]["sha256"].keys()
    assert "positions" in dict(lm.model.named_parameters())


CHANGED = {
    "another type": ({"model_type": "qwen2"}, "of type opt or xglm, found 'qwen2'"),
    "post-norm": ({"do_layer_norm_before": False}, "do_layer_norm_before"),
    "activation": ({"activation_function": "gelu"}, "activation_function"),
    "projected": ({"word_embed_proj_dim": 16}, "_proj_dim: expected the width 32, found 16"),
    "heads": ({"num_attention_heads": 5}, "expected a multiple of"),
    "layers": ({"num_hidden_layers": 2}, "surplus: layers.2"),
    "huge": ({"num_hidden_layers": 900}, "missing: layers."),
    "no end": ({"eos_token_id": None}, "expected eos_token_id"),
    "no token": ({"pad_token_id": 99}, "pad_token_id is no token: 99"),
    "vocabulary": ({"vocab_size": 30}, "expected embed_tokens.weight with vocab_size = 30 rows"),
    "few tokens": ({"pad_token_id": 5}, "expected tokens for 20 units from 6 on"),
    "twice": ({"unit_ids": [3] * 20}, "unit_ids: expected one token for each unit"),
    "other units": ({"unit_ids": [3, 4]}, "expected a unit LM of the codebook's 20 units, found 2"),
}


@pytest.mark.parametrize("name", CHANGED)
def test_other_models_are_refused(tmp_path, name):
    changes, expected = CHANGED[name]
    opt(tmp_path / "opt")
    path = tmp_path / "opt/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ArtefactError, match=expected):
        imported(tmp_path / "opt")
    assert not (tmp_path / "opt.safetensors").exists()


def test_other_weights_are_refused(tmp_path):
    folder, weights = tmp_path / "opt", tmp_path / "opt/model.safetensors"
    opt(folder)
    good = load_file(weights)
    bad = {
        "embed_tokens.weight is missing": lambda t: t.pop("model.decoder.embed_tokens.weight"),
        "missing: layers.1.fc1.bias": lambda t: t.pop("model.decoder.layers.1.fc1.bias"),
        "surplus: more": lambda t: t.update(more=torch.ones(2)),
        "expected tied embeddings": lambda t: t.update({"lm_head.weight": torch.ones(22, 32)}),
        "of another shape: embed_positions.weight": lambda t: t.update(
            {"model.decoder.embed_positions.weight": torch.ones(60, 32)}
        ),
    }
    for expected, change in bad.items():
        tensors = dict(good)
        change(tensors)
        save_file(tensors, weights)
        with pytest.raises(ArtefactError, match=expected):
            imported(folder)
    weights.write_bytes(b"no tensors")
    with pytest.raises(ArtefactError, match="not a readable safetensors file"):
        imported(folder)
    (folder / "config.json").write_text("{")
    with pytest.raises(ArtefactError, match=r"config\.json: "):
        imported(folder)
    (folder / "config.json").write_text("[1]")
    with pytest.raises(ArtefactError, match="expected an object"):
        imported(folder)


@pytest.mark.slow
def test_a_prompt_is_trained_on_an_opt_by_the_ordinary_command(finished, tmp_path, capsys):
    """The keywords of configs/ci.yaml, whose units are there already."""
    run = tmp_path / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns(".snakemake", "ks", "lm"))
    opt(run / "models/opt", vocab_size=52)
    setup = yaml.safe_load((REPOSITORY / "configs/ci.yaml").read_text()) | {"seeds": [1]}
    setup["lm"] = {"tiny": {"codebook": "mfcc50", "checkpoint": "models/opt"}}
    (tmp_path / "opt.yaml").write_text(yaml.safe_dump(setup))
    asked = ("--rerun-triggers", "mtime", "--cores", "1", "results/ks/acc.txt")
    snakemake(run, *asked, configfile=tmp_path / "opt.yaml")
    metrics = read_json(run / "results/ks/metrics.json")
    assert metrics["splits"]["test"]["acc"]["n"] == 120
    recording = next((run / "resources/corpora/keywords/test").rglob("*.wav"))
    assert main(["predict", str(run / "results/ks"), str(recording)]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "ks"
