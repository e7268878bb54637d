"""Unit LMs of transformers: the scores of the library that wrote them, and what is refused."""

import json
import shutil

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from pipeline import REPOSITORY, snakemake
from random_models import CODEBOOK, FORMS, random_lm, random_units, write_lm
from speechprompt.cli import main
from speechprompt.errors import ArtefactError
from speechprompt.lm import Dictionary, load_lm, save_lm
from speechprompt.lm.cache import Cache
from speechprompt.lm.dictionary import END, N_SPECIALS
from speechprompt.lm.fairseq import to_fairseq, weights
from speechprompt.lm.packing import pack
from speechprompt.models.exporting.unit_lm import export_unit_lm
from speechprompt.storage.files import read_json
from speechprompt.storage.tensors import read_tensors
from transformers_unit_lms import N_UNITS, check_scores, imported, opt, qwen2, scores_of


def test_opt_gives_the_scores_that_transformers_gives(tmp_path):
    theirs = opt(tmp_path / "opt")
    lm = imported(tmp_path / "opt")
    assert lm.model.config.learned_positions
    check_scores(lm, theirs, random_units(8), first=2)


POST_NORM = {"do_layer_norm_before": False}


@pytest.mark.parametrize("changes", [{}, {"word_embed_proj_dim": 16}])
def test_an_opt_like_that_of_350m_has_its_scores(tmp_path, changes):
    theirs = opt(tmp_path / "opt", **POST_NORM | changes)
    lm = imported(tmp_path / "opt")
    assert lm.model.config.form == "opt-350m"
    check_scores(lm, theirs, random_units(8), first=2)


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": True},
        {"tie_word_embeddings": False},
        {"num_key_value_heads": 1, "rope_theta": 1e6, "rms_norm_eps": 1e-3},
        {"num_key_value_heads": 4, "num_hidden_layers": 1},
    ],
)
def test_qwen2_gives_the_scores_that_transformers_gives(tmp_path, changes):
    theirs = qwen2(tmp_path / "qwen", **changes)
    lm = imported(tmp_path / "qwen")
    assert lm.model.config.form == "qwen2"
    assert lm.model.config.tied == changes.get("tie_word_embeddings", False)
    check_scores(lm, theirs, random_units(8), first=2)


def test_settings_as_transformers_4_writes_them(tmp_path):
    theirs = qwen2(tmp_path / "qwen", rope_theta=5e3)
    path = tmp_path / "qwen/config.json"
    settings = json.loads(path.read_text())
    settings |= {"rope_theta": settings.pop("rope_parameters")["rope_theta"]}
    del settings["layer_types"]
    path.write_text(json.dumps(settings | {"rope_scaling": None, "sliding_window": 32768}))
    check_scores(imported(tmp_path / "qwen"), theirs, random_units(8), first=2)


@pytest.mark.parametrize("write", [opt, qwen2])
@torch.no_grad()
def test_the_greedy_continuation_is_that_of_transformers(tmp_path, write):
    theirs = write(tmp_path / "lm")
    lm = imported(tmp_path / "lm")
    for units in random_units(5):
        told = torch.tensor([1, *(2 + units)])[None]
        more = theirs.generate(
            told,
            attention_mask=torch.ones_like(told),
            max_new_tokens=20,
            do_sample=False,
            suppress_tokens=[0, 1],
        )
        start, cache, found = pack([[END, *lm.dictionary.ids(units)]]), Cache(room=20), []
        scores = lm.model.logits(lm.model(start, cache=cache))[-1:]
        for _ in range(20):
            found.append(int(scores[0, N_SPECIALS:].argmax()))
            token = torch.tensor([found[-1] + N_SPECIALS])
            scores = lm.model.logits(lm.model.step(token, cache))
        assert (more[0, told.shape[1] :] - 2).tolist() == found


def sizes(layers, dim, heads, **more):
    return {"num_hidden_layers": layers, "hidden_size": dim, "num_attention_heads": heads, **more}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("write", "shape"),
    [
        (opt, sizes(12, 768, 12, word_embed_proj_dim=768, ffn_dim=3072)),
        (opt, sizes(24, 1024, 16, word_embed_proj_dim=512, ffn_dim=4096) | POST_NORM),
        # Qwen2.5-0.5B, which Slam is made of.
        (
            qwen2,
            sizes(24, 896, 14, num_key_value_heads=2, intermediate_size=4864, rope_theta=1e6)
            | {"tie_word_embeddings": True, "max_position_embeddings": 32768},
        ),
    ],
    ids=["opt-125m", "opt-350m", "qwen2-0.5b"],
)
def test_models_of_the_published_sizes(tmp_path, write, shape):
    theirs = write(tmp_path / "lm", noise=0.0, **{"max_position_embeddings": 2048} | shape)
    check_scores(imported(tmp_path / "lm"), theirs, random_units(4), first=2)


@pytest.mark.parametrize("write", [opt, qwen2])
def test_a_model_inside_slamkits_is_found(tmp_path, write):
    theirs = write(tmp_path / "lm")
    wrapped = tmp_path / "slam"
    wrapped.mkdir()
    base = json.loads((tmp_path / "lm/config.json").read_text())
    outer = {"model_type": "speech_language_model", "vocab_size": 22, "base_config": base}
    (wrapped / "config.json").write_text(json.dumps(outer))
    tensors = load_file(tmp_path / "lm/model.safetensors")
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
    "another type": ({"model_type": "llama"}, "of type opt, xglm or qwen2, found 'llama'"),
    "post-norm": ({"do_layer_norm_before": False}, "surplus: final_layer_norm"),
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


def assert_refused(tmp_path, write, changes, expected):
    """A model of transformers with other settings is not imported, and nothing is written."""
    folder = tmp_path / "model"
    write(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    with pytest.raises(ArtefactError, match=expected):
        imported(folder)
    assert not folder.with_suffix(".safetensors").exists()


@pytest.mark.parametrize("name", CHANGED)
def test_other_models_are_refused(tmp_path, name):
    assert_refused(tmp_path, opt, *CHANGED[name])


def scaled(**rope):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": 1e4, **rope}}


OTHER_QWENS = {
    "window": ({"use_sliding_window": True}, "use_sliding_window: expected False, found True"),
    "layers": (
        {"layer_types": ["full_attention", "sliding_attention"]},
        "layer_types: expected full_attention only, found 'sliding_attention'",
    ),
    "scaling": (scaled(rope_type="yarn", factor=4.0), "rope_parameters: expected .* default"),
    "old scaling": (
        {"rope_parameters": None, "rope_scaling": {"type": "linear", "factor": 2.0}},
        "rope_parameters: expected rope_type default, found .*linear",
    ),
    "partial": (scaled(partial_rotary_factor=0.5), "rope_parameters: expected"),
    "no base": (scaled(rope_theta=0), "lm.rotary_base: expected a number above 0, found 0"),
    "activation": ({"hidden_act": "gelu"}, "hidden_act: expected 'silu', found 'gelu'"),
    "width": ({"head_dim": 16}, "head_dim: expected hidden_size / num_attention_heads, found 16"),
    "groups": ({"num_key_value_heads": 3}, "lm.kv_heads: expected a divisor of heads = 4, found 3"),
    "other groups": ({"num_key_value_heads": 4}, "of another shape: layers.0.self_attn.k_proj"),
    "epsilon": ({"rms_norm_eps": "small"}, "lm.norm_epsilon: expected a number above 0"),
    "tied": ({"tie_word_embeddings": True}, "lm_head.weight differs from embed_tokens.weight"),
    "odd": ({"tie_word_embeddings": "no"}, "tie_word_embeddings: expected bool, found 'no'"),
    "heads": ({"num_key_value_heads": None}, "num_key_value_heads: expected int, found None"),
}


@pytest.mark.parametrize("name", OTHER_QWENS)
def test_other_qwens_are_refused(tmp_path, name):
    assert_refused(tmp_path, qwen2, *OTHER_QWENS[name])


def test_weights_of_a_qwen_are_told_by_their_own_names(tmp_path):
    folder = tmp_path / "qwen"
    qwen2(folder)
    good = load_file(folder / "model.safetensors")
    bad = {
        "missing: lm_head.weight": lambda t: t.pop("lm_head.weight"),
        "missing: layers.1.mlp.gate_proj.weight": lambda t: t.pop(
            "model.layers.1.mlp.gate_proj.weight"
        ),
        "surplus: layers.0.self_attn.o_proj.bias": lambda t: t.update(
            {"model.layers.0.self_attn.o_proj.bias": torch.ones(32)}
        ),
        "of another shape: norm.weight": lambda t: t.update({"model.norm.weight": torch.ones(3)}),
    }
    for expected, change in bad.items():
        tensors = dict(good)
        change(tensors)
        save_file(tensors, folder / "model.safetensors")
        with pytest.raises(ArtefactError, match=expected):
            imported(folder)


def test_projections_of_another_shape_are_refused(tmp_path):
    opt(tmp_path / "opt", word_embed_proj_dim=16, **POST_NORM)
    weights = tmp_path / "opt/model.safetensors"
    tensors = load_file(weights)
    save_file(tensors | {"model.decoder.project_in.weight": torch.ones(32, 8)}, weights)
    with pytest.raises(ArtefactError, match=r"project_in.weight \(32, 8\) instead of \(32, 16\)"):
        imported(tmp_path / "opt")


@pytest.mark.parametrize("form", FORMS)
def test_only_fairseqs_architecture_is_exported(tmp_path, form):
    """XGLM has sinusoids; anything else would get other scores from the same weights."""
    model = random_lm(**FORMS[form])
    save_lm(tmp_path / "lm.safetensors", model, Dictionary(range(20)), CODEBOOK)
    with pytest.raises(ArtefactError, match=r"lm\.safetensors: expected a unit LM of GSLM's form"):
        export_unit_lm(tmp_path / "lm.safetensors", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("form", ["opt-350m", "qwen2"])
def test_fairseq_has_no_other_layers(form):
    with pytest.raises(ArtefactError, match=f"fairseq has no unit LM of the form {form}"):
        to_fairseq(random_lm(**FORMS[form]))


def test_learnt_positions_come_behind_the_rows_of_fairseqs_symbols():
    model = random_lm(**FORMS["opt"], tied=False)
    state, own = to_fairseq(model), weights(model)
    table = state["decoder.embed_positions.weight"]
    assert torch.equal(table, torch.cat((torch.zeros(2, 32), model.positions)))
    assert torch.equal(state["decoder.output_projection.weight"], model.head)
    assert {name.removeprefix("decoder.") for name in state} == {
        *own,
        "version",
        "embed_positions._float_tensor",
    }


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
@pytest.mark.parametrize("write", [opt, qwen2])
def test_a_prompt_is_trained_by_the_ordinary_command(finished, tmp_path, capsys, write):
    """The keywords of configs/ci.yaml, whose units are there already."""
    run = tmp_path / "run"
    shutil.copytree(finished, run, ignore=shutil.ignore_patterns(".snakemake", "ks", "lm"))
    write(run / "models/lm", vocab_size=52)
    setup = yaml.safe_load((REPOSITORY / "configs/ci.yaml").read_text()) | {"seeds": [1]}
    setup["lm"] = {"tiny": {"codebook": "mfcc50", "checkpoint": "models/lm"}}
    (tmp_path / "lm.yaml").write_text(yaml.safe_dump(setup))
    asked = ("--rerun-triggers", "mtime", "--cores", "1", "results/ks/acc.txt")
    snakemake(run, *asked, configfile=tmp_path / "lm.yaml")
    metrics = read_json(run / "results/ks/metrics.json")
    assert metrics["splits"]["test"]["acc"]["n"] == 120
    recording = next((run / "resources/corpora/keywords/test").rglob("*.wav"))
    assert main(["predict", str(run / "results/ks"), str(recording)]) == 0
    assert json.loads(capsys.readouterr().out)["task"] == "ks"
