"""Import of unit LMs: GSLM's (Lakhotia et al., 2021) of fairseq, and those of transformers."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from torch import Tensor

from speechprompt.downloads.archives import unpack
from speechprompt.downloads.model_folder import folder_of, is_folder
from speechprompt.errors import ArtefactError, AssetError, ConfigError, some_of
from speechprompt.lm import Dictionary, LMConfig, UnitLM, save_lm
from speechprompt.lm.dictionary import N_SPECIALS, read_dictionary
from speechprompt.lm.fairseq import CONSTANTS, PREFIX, TIED, describe, load_weights, weights
from speechprompt.models.importing.fairseq_settings import demand, fairseq_settings, require, shown
from speechprompt.models.importing.hub_unit_lm import read_hub_unit_lm
from speechprompt.models.importing.pickles import (
    identify,
    load_checkpoint,
    named_tensors,
    published,
)
from speechprompt.models.importing.transformers_folder import folder_source
from speechprompt.runtime.progress import log
from speechprompt.runtime.uninitialised import without_initial_values, without_weights
from speechprompt.storage.files import sha256_artefact
from speechprompt.storage.tensors import check_shapes, shapes_of
from speechprompt.units.codebook import load_codebook

__all__ = ["count_units", "hash_codebook", "import_unit_lm"]

CHECKPOINT, DICTIONARY = "checkpoint_best.pt", "dict.txt"
# A checkpoint of 151M parameters has 1.8 GB with the state of its optimiser.
MAX_UNPACKED = 8 * 10**9
EMBEDDING = f"{PREFIX}embed_tokens.weight"
# Settings that UnitLM does not have: it is fairseq's ``base_lm_architecture`` with tied embeddings.
FIXED = {
    "activation_fn": "relu",
    "decoder_normalize_before": True,
    "decoder_final_norm": True,
    "share_decoder_input_output_embed": True,
    **dict.fromkeys(
        (
            *("no_decoder_final_norm", "decoder_learned_pos"),
            *("no_token_positional_embeddings", "no_scale_embedding", "layernorm_embedding"),
            *("character_embeddings", "adaptive_input", "adaptive_softmax_cutoff"),
            *("decoder_layers_to_keep", "decoder_xformers_att_config", "base_layers"),
            *("scale_fc", "scale_attn", "scale_heads", "scale_resids"),
        ),
        False,
    ),
}


def import_unit_lm(
    source: str | Path,
    out: str | Path,
    *,
    codebook_sha256: str,
    n_units: int | None = None,
    dictionary: str | Path | None = None,
    sha256: str | None = None,
    trust: bool = False,
) -> None:
    """Import a unit LM.

    Args:
        source: The published archive (``hubert100_lm.tgz``), which holds checkpoint_best.pt and
            dict.txt, in a folder or not; a checkpoint, given its dictionary; or a folder that
            ``transformers`` wrote (:mod:`~speechprompt.models.importing.hub_unit_lm`).
        out: The unit LM to write, safetensors.
        codebook_sha256: Hash of the codebook whose units the LM reads.
        n_units: Number of units of that codebook; None skips the comparison.
        dictionary: The checkpoint's dict.txt, unless ``source`` is an archive. Its order decides
            which embedding is which unit's.
        sha256: The sum that ``source`` must have, if it is a file.
        trust: Run all code that the checkpoint asks for; only for your own files.

    Raises:
        AssetError: the file has another sum, is damaged or would run code.
        ArtefactError: this is another model, a weight is missing, surplus or of another shape, or
            the dictionary does not fit the weights or the codebook.
    """
    origin = str(source)
    if is_folder(source):
        folder = folder_of(source)
        about = {"source": folder_source(folder)}
        with published(origin):
            model, units = read_hub_unit_lm(folder, n_units, trust)
        save_lm(out, model, units, codebook_sha256, about)
        return
    identity = identify(source, sha256)
    with published(origin):
        with _files(Path(source), dictionary, Path(out).parent) as (checkpoint, words):
            units, n_filler = read_dictionary(words)
            if n_units is not None and units.n_units != n_units:
                raise ArtefactError(
                    f"{origin}: expected a unit LM of the codebook's {n_units} units, found "
                    f"{units.n_units} in its {words.name}"
                )
            state = load_checkpoint(checkpoint, trust=trust)
            model = _build(state, units.n_symbols, n_filler, origin)
        save_lm(out, model, units, codebook_sha256, {"source": identity})


def _build(state: Any, n_symbols: int, n_filler: int, origin: str) -> UnitLM:
    settings = fairseq_settings(state, origin)
    tensors = named_tensors(state.get("model"), origin)
    config = _config(settings, n_symbols + n_filler, origin)
    with without_weights():
        model = UnitLM(config)
    _check(tensors, model, origin)
    if n_filler:
        log(f"{origin}: {n_filler} symbols that only fill up the dictionary are left out")
        for name in (EMBEDDING, PREFIX + TIED):
            if name in tensors:
                tensors[name] = tensors[name][:n_symbols]
        config = _config(settings, n_symbols, origin)
    with without_initial_values():
        model = UnitLM(config)
    load_weights(model, tensors, origin)
    return model


def _config(settings: Mapping[str, Any], n_symbols: int, origin: str) -> LMConfig:
    given = settings.get("_name") or settings.get("arch") or "transformer_lm"
    name = given if isinstance(given, str) else shown(given)
    if not name.startswith("transformer_lm"):
        raise ArtefactError(f"{origin}: expected a transformer_lm, found {name[:100]!r}")
    dim = require(settings, "decoder_embed_dim", int, origin)
    same_width = {"decoder_input_dim": dim, "decoder_output_dim": dim}
    demand(settings, {**FIXED, **same_width}, origin)
    longest = "tokens_per_sample" if settings.get("max_target_positions") is None else ""
    try:
        return LMConfig(
            n_symbols=n_symbols,
            layers=require(settings, "decoder_layers", int, origin),
            heads=require(settings, "decoder_attention_heads", int, origin),
            dim=dim,
            ffn=require(settings, "decoder_ffn_embed_dim", int, origin),
            max_positions=require(settings, longest or "max_target_positions", int, origin),
        )
    except ConfigError as error:
        raise ArtefactError(f"{origin}: {error}") from error


def _check(tensors: Mapping[str, Tensor], model: UnitLM, origin: str) -> None:
    """Check that the weights fit the architecture and the dictionary."""
    config = model.config
    embedding = tensors.get(EMBEDDING)
    if embedding is not None and len(embedding) != config.n_symbols:
        raise ArtefactError(
            f"{origin}: expected {len(embedding) - N_SPECIALS} lines in {DICTIONARY}, as many as "
            f"{EMBEDDING} has rows besides {N_SPECIALS} special symbols, found "
            f"{config.n_symbols - N_SPECIALS}"
        )
    ignored = {PREFIX + name for name in (*CONSTANTS, TIED)}
    expected = {PREFIX + name: shape for name, shape in shapes_of(weights(model)).items()}
    found = {name: shape for name, shape in shapes_of(tensors).items() if name not in ignored}
    check_shapes(origin, describe(config), expected=expected, found=found)


@contextmanager
def _files(
    source: Path, dictionary: str | Path | None, folder: Path
) -> Iterator[tuple[Path, Path]]:
    """Yield checkpoint and dictionary; those of an archive are unpacked temporarily."""
    if dictionary is not None:
        yield source, Path(dictionary)
        return
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".unpacked-", dir=folder) as temporary:
        unpacked = Path(temporary, "files")
        unpack(source, unpacked, max_bytes=MAX_UNPACKED)
        yield _find(unpacked, CHECKPOINT, source), _find(unpacked, DICTIONARY, source)


def _find(folder: Path, name: str, archive: Path) -> Path:
    found = sorted(folder.rglob(name))
    if len(found) != 1:
        files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
        raise AssetError(
            f"{archive}: expected one {name} in it, found {len(found)} among {some_of(files, 5)}; "
            f"a checkpoint by itself needs its {DICTIONARY}"
        )
    return found[0]


def hash_codebook(codebook: str | Path) -> str:
    """The hash that identifies a unit LM's codebook."""
    return sha256_artefact(codebook)


def count_units(codebook: str | Path) -> int:
    """The number of units of a codebook, or of the dictionary in place of one.

    Args:
        codebook: codebook whose units the LM reads; for ready units the dict.txt that is their
            codebook.
    """
    if Path(codebook).suffix == ".txt":
        return Dictionary.read(codebook).n_units
    return load_codebook(codebook).n_units
