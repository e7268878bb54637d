"""Folders of transformers in all their forms, and those that do not fit."""

import json
import os
from types import SimpleNamespace

import pytest
import torch
import yaml
from publishing import Bomb
from safetensors.torch import load_file, save_file

from pipeline import snakemake
from speechprompt.cli import main
from speechprompt.config import parse_config
from speechprompt.downloads.model_folder import folder_files
from speechprompt.errors import ArtefactError, AssetError, ConfigError
from speechprompt.models.importing.hubert import import_hubert
from speechprompt.models.importing.transformers_folder import TABLE
from speechprompt.storage.tensors import read_tensor_metadata, read_tensors
from speechprompt.workflow.plan import Plan
from transformers_encoders import (
    BASE,
    SMALL,
    build,
    write,
)


@pytest.fixture
def attempt(tmp_path, capsys):
    """Import a folder; what is printed on failure, when nothing may be written."""

    def run(folder, kind="hubert", *options):
        out = tmp_path / "out" / "model.safetensors"
        status = main([f"import-{kind}", str(folder), "--out", str(out), *options])
        printed = capsys.readouterr().err
        assert "Traceback" not in printed
        assert (status == 0) == out.exists()
        return out if status == 0 else printed

    return run


def renamed(folder, change):
    """Rewrite the weights with other names."""
    path = folder / "model.safetensors"
    tensors = {change(name): tensor for name, tensor in load_file(path).items()}
    save_file(tensors, path, {"format": "pt"})
    return tensors


def as_pickle(folder, name="pytorch_model.bin"):
    """The weights as transformers wrote them before safetensors."""
    torch.save(load_file(folder / "model.safetensors"), folder / name)
    (folder / "model.safetensors").unlink()


def test_older_forms_of_the_same_weights(tmp_path, attempt):
    """Prefix, head, weight norm's older names, shards and pickles give the same file."""
    forms = {}
    model = build("hubert", SMALL | BASE)
    for form in ("plain", "head", "old names", "shards", "pickle", "pickled shards"):
        folder = tmp_path / form
        source = model
        if form == "head":
            source = build("hubert", SMALL | BASE, "ForCTC")
            source.hubert.load_state_dict(model.state_dict())
        write(source, folder, False, **({"max_shard_size": "100KB"} if form == "shards" else {}))
        if form == "old names":
            names = {new: old for old, new in TABLE["weight_norm"].items()}
            renamed(
                folder,
                lambda name, names=names: next(
                    (name.replace(new, old) for new, old in names.items() if new in name), name
                ),
            )
            assert "encoder.pos_conv_embed.conv.weight_g" in load_file(folder / "model.safetensors")
        if form == "pickle":
            as_pickle(folder)
        if form == "pickled shards":
            weights = load_file(folder / "model.safetensors")
            (folder / "model.safetensors").unlink()
            files = {name: f"pytorch_model-{i % 2}.bin" for i, name in enumerate(weights)}
            for file in set(files.values()):
                torch.save({n: t for n, t in weights.items() if files[n] == file}, folder / file)
            index = {"metadata": {}, "weight_map": files}
            (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        out = attempt(folder)
        forms[form] = read_tensors(out)
        out.unlink()
        assert len(folder_files(folder)) == {"shards": 8, "pickled shards": 5}.get(form, 3)
    plain, metadata = forms.pop("plain")
    for form, (tensors, about) in forms.items():
        assert tensors.keys() == plain.keys(), form
        assert all(torch.equal(tensors[name], plain[name]) for name in plain), form
        assert about["config"] == metadata["config"], form


def test_every_head_is_left_out(tmp_path, attempt):
    for kind, heads in HEADS.items():
        for head in heads:
            settings = {"vocab_size": 5, "use_weighted_layer_sum": True}
            model = build(kind, SMALL | settings, head)
            folder = write(model, tmp_path / f"{kind}{head}", False)
            out = attempt(folder, kind)
            found, _ = read_tensors(out)
            n_ours = sum(tensor.numel() for tensor in found.values())
            own = getattr(model, kind).state_dict()
            del own["masked_spec_embed"]
            assert n_ours == sum(tensor.numel() for tensor in own.values())
            out.unlink()


HEADS = {
    "hubert": ("ForCTC", "ForSequenceClassification"),
    "wav2vec2": (
        *("ForPreTraining", "ForCTC", "ForSequenceClassification"),
        *("ForAudioFrameClassification", "ForXVector"),
    ),
    "wavlm": ("ForCTC", "ForSequenceClassification", "ForAudioFrameClassification", "ForXVector"),
}


def test_who_decides_whether_waveforms_are_normalised(tmp_path, attempt):
    folder = write(build("hubert", SMALL), tmp_path / "model", False)

    def stated(*options):
        out = attempt(folder, "hubert", *options)
        config = read_tensor_metadata(out)["config"]
        out.unlink()
        return config["normalize_waveform"], config.get("normalize_epsilon")

    assert stated() == (False, None)
    assert stated("--normalize", "true") == (True, 1e-7)
    (folder / "preprocessor_config.json").write_text("{}")
    assert stated() == (True, 1e-7)  # transformers' own default
    assert stated("--normalize", "false") == (False, None)
    (folder / "preprocessor_config.json").unlink()
    assert "without it, set `normalize` to true or false" in attempt(folder)
    assert stated("--normalize", "false") == (False, None)
    assert stated("--normalize", "true") == (True, 1e-7)


def test_an_import_by_its_configuration_is_that_of_the_folder(tmp_path, attempt):
    folder = write(build("hubert", SMALL), tmp_path / "model", False)
    first = attempt(folder).read_bytes()
    assert attempt(folder / "config.json").read_bytes() == first


@pytest.fixture
def folder(tmp_path):
    return write(build("hubert", SMALL), tmp_path / "model", False)


def edited(path, **changes):
    settings = json.loads(path.read_text())
    path.write_text(json.dumps(settings | changes))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "wav2vec2"}, "expected model_type 'hubert', found 'wav2vec2'"),
        ({"hidden_act": "relu"}, "hidden_act: expected 'gelu', found 'relu'"),
        ({"feat_extract_activation": "relu"}, "feat_extract_activation: expected 'gelu'"),
        ({"feat_proj_layer_norm": False}, "feat_proj_layer_norm: expected True, found False"),
        ({"layer_norm_eps": 1e-6}, "layer_norm_eps: expected 1e-05, found 1e-06"),
        ({"adapter_attn_dim": 16}, "adapter_attn_dim: expected None, found 16"),
        ({"auto_map": {"AutoModel": "m.M"}}, "auto_map: expected None"),
        ({"quantization_config": {"bits": 4}}, "quantization_config: expected None"),
        ({"feat_extract_norm": "batch"}, "feat_extract_norm: expected one of group, layer"),
        ({"hidden_size": "48"}, "setting hidden_size: expected int, found '48'"),
        ({"conv_bias": 1}, "setting conv_bias: expected bool, found 1"),
        ({"conv_dim": 32}, "setting conv_dim: expected whole numbers, found 32"),
        ({"hidden_dropout": "0"}, "setting hidden_dropout: expected a number, found '0'"),
        ({"conv_kernel": [10]}, "expected a value of each for every convolution, found [7, 1, 7]"),
        ({"num_hidden_layers": 10**9}, "setting num_hidden_layers: expected a whole number from 1"),
        ({"num_attention_heads": 5}, "impossible HuBERT configuration"),
        ({"num_hidden_layers": 4}, "missing: encoder.layers.3.attention"),
        ({"num_hidden_layers": 2}, "surplus: encoder.layers.2.attention"),
        ({"conv_pos_batch_norm": True}, "missing: encoder.pos_conv_embed.batch_norm.bias"),
        ({"intermediate_size": 95}, "intermediate_dense.bias (96,) instead of (95,)"),
    ],
)
def test_settings_that_do_not_fit(folder, attempt, changes, message):
    edited(folder / "config.json", **changes)
    assert message in attempt(folder)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_buckets": 3}, "encoder_num_buckets: expected a whole number from 4"),
        (
            {"max_bucket_distance": 20},
            "less than four times encoder_max_distance, found 320 and 20",
        ),
        ({"num_buckets": 322}, "rel_attn_embed.weight (320, 4) instead of (322, 4)"),
        ({"model_type": "hubert"}, "expected model_type 'wavlm', found 'hubert'"),
    ],
)
def test_settings_of_wavlm_that_do_not_fit(tmp_path, attempt, changes, message):
    folder = write(build("wavlm", SMALL), tmp_path / "model", False)
    edited(folder / "config.json", **changes)
    assert message in attempt(folder, "wavlm")


def change_weights(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("encoder.layers.1.layer_norm.bias"),
            "missing: encoder.layers.1.layer_norm.bias",
        ),
        (lambda w: w.update(extra=torch.zeros(2)), "surplus: extra"),
        # A head of a model without a prefix is no head that transformers writes.
        (lambda w: w.update({"lm_head.bias": torch.zeros(2)}), "surplus: lm_head.bias"),
        (
            lambda w: w.update({"encoder.layer_norm.bias": torch.zeros(47)}),
            "of another shape: encoder.layer_norm.bias (47,) instead of (48,)",
        ),
        (
            lambda w: w.update({"encoder.pos_conv_embed.conv.weight_g": torch.zeros(1, 1, 128)}),
            "encoder.pos_conv_embed.conv.parametrizations.weight.original0 is there twice",
        ),
    ],
)
def test_weights_that_do_not_fit(folder, attempt, change, message):
    change_weights(folder, change)
    assert message in attempt(folder)


def test_what_is_beside_a_prefix_and_no_head(tmp_path, attempt):
    folder = write(build("hubert", SMALL, "ForCTC"), tmp_path / "model", False)
    change_weights(folder, lambda w: w.update({"adapter.bias": torch.zeros(2)}))
    assert "surplus: adapter.bias" in attempt(folder)


def test_files_that_are_missing_or_damaged(folder, attempt):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[:-5])
    assert "model.safetensors: not a readable safetensors file" in attempt(folder)
    path.unlink()
    message = "expected weights (model.safetensors, model.safetensors.index.json, pytorch_model.bin"
    assert message in attempt(folder)
    (folder / "config.json").write_text("[]")
    path.write_bytes(content)
    assert "config.json: expected an object, found []" in attempt(folder)
    (folder / "config.json").write_text("{")
    assert "config.json: cannot be read as JSON" in attempt(folder)
    (folder / "config.json").unlink()
    assert "expected a model of transformers, found no config.json in it" in attempt(folder)


def test_a_sum_is_that_of_a_file(folder, attempt):
    message = "sha256 is the sum of a file, and this is a folder"
    assert message in attempt(folder, "hubert", "--sha256", "0" * 64)


def test_another_sampling_rate(folder, attempt):
    edited(folder / "preprocessor_config.json", sampling_rate=8000)
    assert "sampling_rate: expected 16000, found 8000" in attempt(folder)
    edited(folder / "preprocessor_config.json", sampling_rate=16_000, do_normalize="yes")
    assert "do_normalize: expected bool, found 'yes'" in attempt(folder)


@pytest.mark.parametrize(
    ("listed", "message"),
    [
        ({"a": "../secret.safetensors"}, "expected a weight_map with a file of this folder"),
        ({"a": "other.pkl"}, "expected a weight_map with a file of this folder"),
        ({"a": 1}, "expected a weight_map with a file of this folder"),
        (None, "expected a weight_map with a file of this folder"),
        ({"a": "absent.safetensors"}, "absent.safetensors: cannot be read"),
        ({"a": "part.safetensors"}, "found a difference in a, encoder."),
    ],
)
def test_an_index_that_does_not_fit(folder, attempt, listed, message):
    os.rename(folder / "model.safetensors", folder / "part.safetensors")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": listed}))
    assert message in attempt(folder)


def test_a_pickle_runs_no_code(folder, attempt, tmp_path):
    bomb = Bomb(tmp_path / "went-off")
    (folder / "model.safetensors").unlink()
    torch.save({"weight": bomb}, folder / "pytorch_model.bin")
    assert "refused, because its pickle asks for" in attempt(folder)
    assert not bomb.path.exists()
    assert "expected named weights" in attempt(folder, "hubert", "--trust")
    assert bomb.path.exists()


def test_folders_as_functions_see_them(folder, tmp_path):
    with pytest.raises(AssetError, match=r"found no config\.json"):
        folder_files(tmp_path)
    edited(folder / "config.json", model_type=None)
    with pytest.raises(ArtefactError, match="expected model_type 'hubert', found None"):
        import_hubert(folder, tmp_path / "out.safetensors")


def test_a_folder_in_a_set_up(folder, tmp_path):
    """The rule gets every file of the folder, and the run has the import of the folder itself."""
    block = {"kind": "hubert", "checkpoint": str(folder), "normalize": True, "layer": 2}
    config = {"encoders": {"mine": block}}
    plan = Plan(parse_config(config))
    wildcards = SimpleNamespace(encoder="mine")
    files = [str(path) for path in folder_files(folder)]
    assert plan.models.checkpoint_files(wildcards) == files
    assert plan.models.import_options(wildcards) == "--normalize true"
    assert "normalize" not in json.loads(plan.models.encoder("mine"))
    (tmp_path / "set-up.yaml").write_text(yaml.safe_dump(config))
    target = "resources/models/mine/model.safetensors"
    snakemake(tmp_path, "--cores", "1", target, configfile=tmp_path / "set-up.yaml")
    import_hubert(folder, tmp_path / "own.safetensors", normalize=True)
    assert (tmp_path / target).read_bytes() == (tmp_path / "own.safetensors").read_bytes()
    (folder / "config.json").unlink()
    with pytest.raises(AssetError, match=r"found no config\.json"):
        plan.models.checkpoint_files(wildcards)


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm"])
def test_another_layer_of_an_imported_model(kind):
    blocks = {
        "mine": {"kind": kind, "checkpoint": "models/mine", "layer": 2},
        "other": {"kind": kind, "weights_of": "mine", "layer": 4},
    }
    plan = Plan(parse_config({"encoders": blocks}))
    assert plan.models.weights("other") == ["resources/models/mine/model.safetensors"]
    assert plan.models.imported_encoders() == "mine"
    assert plan.models.import_verb(SimpleNamespace(encoder="mine")) == f"import-{kind}"
    assert json.loads(plan.models.encoder("other"))["layer"] == 4


def test_normalize_goes_with_a_checkpoint():
    block = {"kind": "hubert", "weights": "hubert-nano.safetensors", "normalize": True}
    with pytest.raises(ConfigError, match="normalize: goes with a checkpoint"):
        parse_config({"encoders": {"mine": block}})
