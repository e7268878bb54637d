"""Any settings of a model of transformers."""

import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from properties import VALUES_OF_SETTINGS, edited, examples, soon
from speechprompt.errors import ArtefactError, AssetError
from speechprompt.models.importing.hubert import import_hubert
from speechprompt.models.importing.wav2vec2 import import_wavlm

TRANSFORMERS = {
    **{"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8},
    **{"conv_dim": [4], "conv_kernel": [10], "conv_stride": [5], "num_conv_pos_embeddings": 4},
    **{"num_conv_pos_embedding_groups": 2, "num_buckets": 8, "max_bucket_distance": 8},
    **dict.fromkeys(("conv_bias", "do_stable_layer_norm", "conv_pos_batch_norm"), False),
    **{"feat_extract_norm": "group", "layer_norm_eps": 1e-5, "hidden_act": "gelu"},
}


@examples(150)
@given(
    changes=st.dictionaries(
        st.sampled_from(sorted(TRANSFORMERS)),
        st.one_of(
            VALUES_OF_SETTINGS,
            st.integers(-3, 300),
            st.lists(st.integers(-1, 10**12), max_size=4),
        ),
        max_size=3,
    ),
    verb=st.sampled_from([import_hubert, import_wavlm]),
    index=st.one_of(edited(b'{"weight_map": {"a": "b.safetensors"}}'), st.none()),
)
def test_any_settings_are_those_of_a_folder_or_an_error(tmp_path, changes, verb, index):
    kind = verb.__name__.removeprefix("import_")
    config = {"model_type": kind, **TRANSFORMERS, **changes}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").unlink(missing_ok=True)
    if index is None:
        save_file({"a": torch.zeros(1)}, tmp_path / "model.safetensors")
    else:
        (tmp_path / "model.safetensors.index.json").write_bytes(index)
    with soon((ArtefactError, AssetError), tmp_path):
        verb(tmp_path, tmp_path / "out.safetensors", normalize=False)
        pytest.fail("no model of this kind was written")
