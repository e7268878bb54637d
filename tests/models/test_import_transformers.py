"""Parity with transformers on folders that transformers itself writes."""

import json
import math
import os
from types import SimpleNamespace

import pytest
import torch
import yaml
from publishing import Bomb
from safetensors.torch import load_file, save_file

from mock_gpu import mock_gpu
from pipeline import snakemake
from speechprompt.cli import main
from speechprompt.config import parse_config
from speechprompt.downloads.model_folder import folder_files
from speechprompt.encoders import load_encoder
from speechprompt.errors import ArtefactError, AssetError, ConfigError
from speechprompt.models.importing.hubert import import_hubert
from speechprompt.models.importing.transformers_folder import TABLE
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensor_header, read_tensor_metadata, read_tensors
from speechprompt.workflow.plan import Plan
from transformers_encoders import (
    BASE,
    LARGE,
    MODELS,
    N_LAYERS,
    SMALL,
    build,
    preprocessor,
    speech,
    write,
)

WAVEFORMS = [speech(length, i) for i, length in enumerate([16_000, 33_333, 9_999, 16_000, 90_001])]


@torch.no_grad()
def their_states(model, waveform, normalize):
    """What transformers' preprocessor and model make of one utterance: ``hidden_states``."""
    values = preprocessor(normalize)(waveform.numpy(), sampling_rate=16_000, return_tensors="pt")
    return torch.cat(model(values.input_values, output_hidden_states=True).hidden_states)


@pytest.fixture(scope="module", params=MODELS)
def imported(request, tmp_path_factory):
    """transformers' model, whether it normalises, and the file that the import made of it."""
    kind, settings, normalize = MODELS[request.param]
    folder = tmp_path_factory.mktemp("transformers")
    model = build(kind, SMALL | settings)
    write(model, folder / "theirs", normalize)
    out = folder / "ours.safetensors"
    assert main([f"import-{kind}", str(folder / "theirs"), "--out", str(out)]) == 0
    return kind, model, normalize, out


def close(found, expected):
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)


def test_every_layer_alone_and_in_a_batch(imported):
    kind, model, normalize, out = imported
    encoder = load_encoder(kind, weights=out, every_layer=True)
    assert encoder.frame_rate == 16_000 / model.config.inputs_to_logits_ratio
    batch = encoder.encode_states(WAVEFORMS)
    for waveform, together in zip(WAVEFORMS, batch, strict=True):
        (alone,) = encoder.encode_states([waveform])
        expected = their_states(model, waveform, normalize)
        assert expected.std(dim=1).mean() > 0.1  # frames differ, so that equal ones mean something
        close(alone, expected)
        assert torch.equal(alone, together)


def test_every_layer_in_a_padded_batch(imported):
    """On an accelerator utterances of similar length are padded."""
    kind, model, normalize, out = imported
    waveforms = [speech(16_000 - 500 * i, i) for i in range(6)]
    with mock_gpu() as device:
        encoder = load_encoder(kind, weights=out, every_layer=True, device=device)
        padded = [states.cpu() for states in encoder.encode_states(waveforms)]
    for waveform, found in zip(waveforms, padded, strict=True):
        close(found, their_states(model, waveform, normalize))


def test_transformers_own_padded_batch(imported):
    """Where norms do not reach over the padding, its own padded batch gives the same, too."""
    kind, model, normalize, out = imported
    if model.config.feat_extract_norm != "layer":
        pytest.skip("the norm over time makes its padded batches differ")
    values = preprocessor(normalize)(
        [waveform.numpy() for waveform in WAVEFORMS],
        sampling_rate=16_000,
        return_tensors="pt",
        padding=True,
    )
    with torch.no_grad():
        theirs = model(**values, output_hidden_states=True).hidden_states[2]
    ours = load_encoder(kind, weights=out, layer=2).encode(WAVEFORMS)
    for found, expected in zip(ours, theirs, strict=True):
        close(found, expected[: len(found)])


@pytest.mark.parametrize("layer", range(1, N_LAYERS + 1))
def test_a_layer_is_that_of_hidden_states(imported, layer):
    """It is the sum after the residual connection; the encoder's final norm is no part of it."""
    kind, model, normalize, out = imported
    (found,) = load_encoder(kind, weights=out, layer=layer).encode(WAVEFORMS[:1])
    close(found, their_states(model, WAVEFORMS[0], normalize)[layer])
    if layer == N_LAYERS and model.config.do_stable_layer_norm:
        values = preprocessor(normalize)(
            WAVEFORMS[0].numpy(), sampling_rate=16_000, return_tensors="pt"
        )
        with torch.no_grad():
            normed = model(values.input_values).last_hidden_state[0]
            close(model.encoder.layer_norm(found), normed)
        assert (found - normed).abs().max() > 0.1


def test_the_sources_are_in_the_metadata(imported):
    _, _, _, out = imported
    source = read_tensor_metadata(out)["source"]
    names = ("config.json", "preprocessor_config.json", "model.safetensors")
    sums = {name: sha256_file(out.parent / "theirs" / name) for name in names}
    assert source == {"folder": "theirs", "sha256": sums}


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


# The published sizes, as transformers' own configurations have them.
FULL_SIZE = {
    "hubert-base": ("hubert", {}, False, 94_370_944),
    "hubert-large": (
        "hubert",
        {
            **{"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16},
            **{"intermediate_size": 4096, **LARGE},
        },
        True,
        315_437_696,
    ),
    "wav2vec2-base": ("wav2vec2", {}, True, 94_370_944),
    "wavlm-base": ("wavlm", {}, False, 94_381_168),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FULL_SIZE)
def test_full_size(name, tmp_path):
    kind, settings, normalize, n_parameters = FULL_SIZE[name]
    model = build(kind, settings)
    out = tmp_path / "ours.safetensors"
    theirs = write(model, tmp_path / "theirs", normalize)
    waveforms = WAVEFORMS[:3]
    expected = [their_states(model, waveform, normalize) for waveform in waveforms]
    del model
    assert main([f"import-{kind}", str(theirs), "--out", str(out)]) == 0
    shapes = [tensor["shape"] for tensor in read_tensor_header(out)[0].values()]
    assert sum(map(math.prod, shapes)) == n_parameters
    encoder = load_encoder(kind, weights=out, every_layer=True)
    together = encoder.encode_states(waveforms)
    for waveform, batched, states in zip(waveforms, together, expected, strict=True):
        assert states.std(dim=1).mean() > 0.1
        close(batched, states)
        close(encoder.encode_states([waveform])[0], states)
