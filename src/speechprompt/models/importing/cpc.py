"""CPC as GSLM published it (cpc_big_ll6kh_top_ctc.pt), to the encoder's own file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from speechprompt.encoders.cpc import cpc_from_checkpoint, save_cpc
from speechprompt.errors import ArtefactError
from speechprompt.models.importing.checks import identify
from speechprompt.models.importing.pickles import load_checkpoint

__all__ = ["import_cpc"]


def import_cpc(
    checkpoint: str | Path, out: str | Path, *, sha256: str | None = None, trust: bool = False
) -> None:
    """Import a CPC encoder.

    Args:
        checkpoint: A checkpoint of GSLM or of CPC_audio.
        out: The safetensors file, as :class:`speechprompt.encoders.cpc.CpcEncoder` reads it.
        sha256: The sum that the checkpoint must have, if any.
        trust: Run whatever code the checkpoint holds; for files of one's own.

    Raises:
        AssetError: another sum, a damaged file, or one that would run code.
        ArtefactError: another model, or weights that are missing, surplus or misshapen.
    """
    source = identify(checkpoint, sha256)
    state = load_checkpoint(checkpoint, trust=trust)
    if not isinstance(state, Mapping):
        raise ArtefactError(
            f"{checkpoint}: expected a CPC checkpoint, found {type(state).__name__}"
        )
    weights, config = cpc_from_checkpoint(state, str(checkpoint))
    save_cpc(out, weights, config, {"source": source})
