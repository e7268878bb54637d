"""Unit LMs that transformers writes, and their scores beside ours."""

import torch
from transformers import OPTConfig, OPTForCausalLM, Qwen2Config, Qwen2ForCausalLM

from random_models import CODEBOOK
from speechprompt.lm import load_lm
from speechprompt.lm.dictionary import END, N_SPECIALS
from speechprompt.lm.packing import pack
from speechprompt.models.importing.unit_lm import import_unit_lm

N_UNITS = 20
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
SHAPE = {"hidden_size": 32, "num_hidden_layers": 3, "max_position_embeddings": 64}
SHAPE |= {"vocab_size": 2 + N_UNITS} | SPECIAL
OPT = SHAPE | {"num_attention_heads": 2, "word_embed_proj_dim": 32, "ffn_dim": 48}
QWEN2 = SHAPE | {"num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}


def opt(folder, noise=0.2, **changes):
    """A random OPT that transformers wrote."""
    return written(folder, noise, OPTForCausalLM, OPTConfig(**OPT | changes))


def qwen2(folder, noise=0.2, **changes):
    """A random Qwen2 that transformers wrote."""
    rope = {"rope_type": "default", "rope_theta": changes.pop("rope_theta", 1e4)}
    config = Qwen2Config(**QWEN2 | {"rope_parameters": rope} | changes)
    return written(folder, noise, Qwen2ForCausalLM, config)


def written(folder, noise, kind, config):
    torch.manual_seed(0)
    model = kind(config).eval()
    with torch.no_grad():
        for parameter in model.parameters() if noise else ():
            parameter.add_(noise * torch.randn(parameter.shape))
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
    """Scores of begin and end and of the units, after every unit, alone and in a batch."""
    with torch.no_grad():
        found = [theirs(torch.tensor(first + units)[None]).logits[0] for units in sentences]
    wanted = torch.cat(found)[:, [1, *range(first, first + N_UNITS)]]
    for ours in (
        scores_of(lm, sentences),
        torch.cat([scores_of(lm, [units]) for units in sentences]),
    ):
        ours = ours[:, [END, *range(N_SPECIALS, N_SPECIALS + N_UNITS)]]
        torch.testing.assert_close(ours, wanted, atol=1e-4, rtol=1e-5)
