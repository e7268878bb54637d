"""Import of CPC as GSLM published it (cpc_big_ll6kh_top_ctc.pt)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from speechprompt.encoders.cpc import CONFIG_KEYS, CPC
from speechprompt.errors import ArtefactError
from speechprompt.models.importing.fairseq_settings import shown
from speechprompt.models.importing.pickles import identify, load_checkpoint, published
from speechprompt.storage.tensors import shapes_of

__all__ = ["cpc_from_checkpoint", "import_cpc"]

# Heads that only training uses, and entries that training programs store beside the weights.
HEADS = (
    "PhoneCriterionClassifier.",
    "classifier.",
    "cpcCriterion.",
    "criterion.",
    "linearSpeakerClassifier.",
    "speakerEmb.",
    "wPrediction.",
)
TRAINING_STATE = ("bestLoss", "classifier", "cpcCriterion", "epoch", "gEncoder", "optimizer")
# Settings that other architectures with the same names of weights have, and their values here.
VARIANTS = {
    "encoder_type": ("cpc",),
    "normMode": ("layerNorm",),
    "arMode": ("LSTM",),
    "cpc_mode": (None, "none", "normal"),
}


def import_cpc(
    checkpoint: str | Path, out: str | Path, *, sha256: str | None = None, trust: bool = False
) -> None:
    """Import a CPC encoder.

    Args:
        checkpoint: A checkpoint of GSLM or of CPC_audio.
        out: The safetensors file, as :class:`speechprompt.encoders.cpc.CpcEncoder` reads it.
        sha256: The sum that the checkpoint must have.
        trust: Run all code that the checkpoint asks for; only for your own files.

    Raises:
        AssetError: the file has another sum, is damaged or would run code.
        ArtefactError: this is another model, or a weight is missing, surplus or of another shape.
    """
    source = identify(checkpoint, sha256)
    with published(checkpoint):
        state = load_checkpoint(checkpoint, trust=trust)
        if not isinstance(state, Mapping):
            raise ArtefactError(
                f"{checkpoint}: expected a CPC checkpoint, found {type(state).__name__}"
            )
        weights, config = cpc_from_checkpoint(state, str(checkpoint))
        CPC.write(out, weights, config, {"source": source})


def cpc_from_checkpoint(
    state: Mapping[str, Any], origin: str = "CPC checkpoint"
) -> tuple[dict[str, Tensor], dict[str, int]]:
    """Convert a loaded checkpoint to the arguments of ``CPC.write``.

    Args:
        state: ``weights`` (GSLM) or ``best`` (CPC_audio), and ``config``, a mapping or a namespace.
            Other entries that training stores (weights of the last epoch, optimizer, criterion) are
            ignored.
        origin: The file, for messages.

    Returns:
        Weights of encoder and LSTM in all layers, without heads for training; and configuration.

    Raises:
        ArtefactError: a weight is missing, surplus or of another shape, or the configuration is
            that of another architecture.
    """
    key = "weights" if "weights" in state else "best"
    if not isinstance(state.get(key), Mapping) or "config" not in state:
        raise ArtefactError(
            f"{origin}: expected named tensors under `weights` or `best`, and `config`, found the "
            f"keys {shown(sorted(map(str, state)))}"
        )
    if surplus := sorted(state.keys() - {"weights", "best", "config", *TRAINING_STATE}):
        raise ArtefactError(f"{origin}: expected weights and configuration, found also {surplus}")
    stored = state["config"]
    values = stored if isinstance(stored, Mapping) else getattr(stored, "__dict__", {})
    for name, accepted in VARIANTS.items():
        if name in values and values[name] not in accepted:
            raise ArtefactError(
                f"{origin}: configuration {name}: expected {accepted[-1]!r}, found "
                f"{shown(values[name])}"
            )
    config = {name: values[name] for name in CONFIG_KEYS if name in values}
    named = {name: value for name, value in state[key].items() if not name.startswith(HEADS)}
    if strange := sorted(name for name, value in named.items() if not isinstance(value, Tensor)):
        raise ArtefactError(f"{origin}: expected tensors under `{key}`, found others: {strange}")
    CPC.check(origin, config, shapes_of(named))
    return {name: tensor.detach().float() for name, tensor in named.items()}, config
