"""Pre-training of encoders: impossible blocks are refused before any job, with the key's path."""

import pytest

from base_config import PRETRAINED, changed, changed_block
from speechprompt.config import parse_config
from speechprompt.errors import ConfigError
from speechprompt.storage.tensors import write_tensors
from speechprompt.workflow.configuration import load_config

PUBLISHED = [[8, 10, 5], *[[8, 3, 2]] * 4, *[[8, 2, 2]] * 2]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"heads": 3}, r"dim: must be a multiple of heads \(3\), found 256"),
        ({"position_groups": 5}, r"dim: must be a multiple of position_groups \(5\), found 256"),
        ({"convolutions": []}, r"convolutions: expected .*, found \(1, 1\)"),
        (
            {"convolutions": [[8, 10, 5], [8, 3, 2]]},
            r"convolutions: expected .* 400 samples' window and 320 .*, found \(20, 10\)",
        ),
        ({"convolutions": PUBLISHED}, r"mel_filters: .* 100 samples or more, found 8 and 10"),
        (
            {"convolutions": [[6, 160, 40], [8, 3, 2], [8, 3, 4]]},
            r"mel_filters: .* multiple of 4 channels .*, found 6 and 160",
        ),
        ({"mask_share": 0}, r"mask_share: .*greater than 0, found 0"),
        ({"valid_share": 0}, r"valid_share: .*greater than 0, found 0"),
        ({"crop_seconds": 0.2}, r"crop_seconds: must be at least 0\.24, .*, found 0\.2"),
        ({"corpora": ["words"] * 2}, r"corpora: a corpus stands twice"),
        (
            {"corpora": ["words", "more"], "target_corpora": ["words"] * 2},
            r"target_corpora: a corpus stands twice",
        ),
        ({"targets": "fast"}, r"targets: expected a codebook of 50 frames/s, and 'fast' is of"),
        ({"start": "own"}, r"start: encoder 'own' would learn from itself"),
        ({"start": "mfcc"}, r"start: 'mfcc' must be of kind hubert, found mfcc"),
        ({"start": "ow"}, r"start: 'ow' is not known"),
    ],
)
def test_a_block_that_its_job_would_refuse_is_refused(changes, expected):
    values = changed("encoders.own", changed_block(PRETRAINED, **changes))
    values["corpora"]["more"] = values["corpora"]["words"]
    values["encoders"]["mel"] = {"kind": "logmel", "sample_corpora": ["words"]}
    values["codebooks"]["fast"] = {"encoder": "mel"}
    with pytest.raises(ConfigError, match=rf"  encoders\.own\.pretraining\.{expected}"):
        parse_config(values)


def test_the_published_convolutions_have_no_mel_filters():
    block = changed_block(PRETRAINED, convolutions=PUBLISHED, mel_filters=False)
    parse_config(changed("encoders.own", block))


def test_no_encoder_goes_on_from_one_that_is_made_from_it():
    values = changed("encoders.first", PRETRAINED)
    values["encoders"] |= {
        "second": changed_block(PRETRAINED, start="first"),
        "layer": {
            "kind": "hubert",
            "weights_of": "second",
            "layer": 2,
            "sample_corpora": ["words"],
        },
    }
    values["codebooks"]["layer"] = {"encoder": "layer"}
    parse_config(values)
    circles = {
        "pretraining.start": changed_block(PRETRAINED, start="second"),
        "pretraining.targets": changed_block(PRETRAINED, targets="layer"),
    }
    for key, block in circles.items():
        values["encoders"]["first"] = block
        expected = rf"  encoders\.first\.{key}: encoder 'first' would learn from itself"
        with pytest.raises(ConfigError, match=expected):
            parse_config(values)


def test_an_encoder_goes_on_from_one_of_its_shape():
    values = changed("encoders.first", PRETRAINED)
    values["encoders"] |= {
        "layer": {"kind": "hubert", "weights_of": "first", "layer": 2},
        "given": {"kind": "hubert", "weights": "other.safetensors"},
    }
    for start in ("first", "layer", "given"):
        values["encoders"]["second"] = changed_block(PRETRAINED, start=start)
        parse_config(values)
        values["encoders"]["second"] = changed_block(PRETRAINED, start=start, ffn=512)
        if start == "given":  # its shape is in a file
            parse_config(values)
            continue
        expected = rf"  encoders\.second\.pretraining\.start: '{start}' has ffn 768, not 512"
        with pytest.raises(ConfigError, match=expected):
            parse_config(values)


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        (PRETRAINED | {"layer": 6}, "1 to 5, the layers of its pre-training, found 6"),
        ({"kind": "hubert", "weights_of": "own"}, "1 to 5, the layers of its pre-training"),
        (
            {"kind": "hubert", "checkpoint": "hubert_base_ls960.pt", "layer": 13},
            r"1 to 12, the layers of hubert_base_ls960\.pt, found 13",
        ),
        (
            {"kind": "cpc", "checkpoint": "cpc_big_ll6kh_top_ctc.pt", "layer": 5},
            r"1 to 4, the layers of cpc_big_ll6kh_top_ctc\.pt, found 5",
        ),
    ],
)
def test_a_layer_that_the_encoder_does_not_have_is_refused(block, expected):
    values = changed("encoders.own", PRETRAINED | {"layer": 5})
    values["encoders"]["read"] = block
    with pytest.raises(ConfigError, match=rf"  encoders\.read\.layer: expected {expected}"):
        parse_config(values)
    values["encoders"]["read"] = block | {"layer": 4}
    parse_config(values)


@pytest.mark.parametrize("kind", ["shipped", "own", "folder", "shared"])
def test_the_layers_of_a_model_that_is_there_are_known_before_any_job(kind, tmp_path):
    own = tmp_path / "own.safetensors"
    write_tensors(own, {}, {"kind": "hubert", "config": {"encoder_num_layers": 5}})
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 5}')
    given = {"kind": "hubert", "weights": "hubert-nano.safetensors", "layer": 4}
    block = {
        "shipped": given,
        "own": given | {"weights": str(own)},
        "folder": {"kind": "wavlm", "checkpoint": str(tmp_path), "layer": 4},
        "shared": {"kind": "hubert", "weights_of": "given", "layer": 4},
    }[kind]

    def load(layer):
        encoders = {"given": given, "read": block | {"layer": layer}}
        load_config({"encoders": encoders}, "unused", complete=True)

    load(5)
    with pytest.raises(ConfigError, match=r"encoders\.read\.layer: expected 1 to 5, .*, found 6"):
        load(6)


def test_what_is_no_model_is_left_to_its_job(tmp_path):
    for name, content in {"a.pt": b"PK", "b.pt": b"", "config.json": b"[1]"}.items():
        (tmp_path / name).write_bytes(content)
        block = {"kind": "hubert", "checkpoint": str(tmp_path / name), "layer": 99}
        load_config({"encoders": {"read": block}}, "unused", complete=True)


def test_more_shards_than_a_plan_can_hold_are_refused():
    parse_config(changed("shards", 1000))
    with pytest.raises(ConfigError, match=r"shards: .*less than or equal to 1000, found 10000000"):
        parse_config(changed("shards", 10_000_000))
