"""A unit LM as a folder that ``transformers`` opens.

XGLM has the architecture of fairseq's decoder: sinusoidal positions from 2 on, scaled embeddings
that are tied to the output, and LayerNorm before each part of a layer.
"""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from speechprompt.errors import ArtefactError
from speechprompt.lm.artefact import LoadedLM, load_lm
from speechprompt.lm.dictionary import END, PAD, SEPARATOR
from speechprompt.lm.fairseq import weights
from speechprompt.storage.files import new_folder, write_text

__all__ = ["export_unit_lm"]


def export_unit_lm(unit_lm: str | Path, out: str | Path) -> None:
    """Write a unit LM as a folder for ``AutoModelForCausalLM.from_pretrained``.

    The folder has ``config.json`` and ``model.safetensors`` with weights in 32 bits. In the
    configuration, ``unit_ids`` has the token of every unit. A sequence begins with token 2
    (``</s>``), and a prompt's answer follows token 0 (``<s>``).

    Args:
        unit_lm: the unit LM.
        out: folder to write.

    Raises:
        ArtefactError: no unit LM of this package, one of another form than GSLM's, or there is
            something in ``out``.
    """
    lm = load_lm(unit_lm)
    if not lm.model.config.is_gslms:
        raise ArtefactError(
            f"{unit_lm}: expected a unit LM of GSLM's form, which XGLM has, found one that was "
            "imported from transformers; use that folder"
        )
    tensors = {f"model.{name}": weight.clone() for name, weight in weights(lm.model).items()}
    with new_folder(out) as folder:
        write_text(folder / "config.json", json.dumps(_config(lm), indent=2))
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def _config(lm: LoadedLM) -> dict[str, Any]:
    """The configuration of the unit LM as XGLM."""
    config = lm.model.config
    return {
        "architectures": ["XGLMForCausalLM"],
        "model_type": "xglm",
        "torch_dtype": "float32",
        "vocab_size": config.n_symbols,
        "max_position_embeddings": config.max_positions,
        "d_model": config.dim,
        "ffn_dim": config.ffn,
        "num_layers": config.layers,
        "attention_heads": config.heads,
        "activation_function": "relu",
        "scale_embedding": True,
        "tie_word_embeddings": True,
        "dropout": 0.0,
        "attention_dropout": 0.0,
        "activation_dropout": 0.0,
        "layerdrop": 0.0,
        "bos_token_id": END,
        "eos_token_id": END,
        "pad_token_id": PAD,
        "decoder_start_token_id": END,
        "separator_token_id": SEPARATOR,
        "unit_ids": lm.dictionary.ids(range(lm.dictionary.n_units)).tolist(),
        "codebook_sha256": lm.codebook_sha256,
        "unit_lm_sha256": lm.sha256,
    }
