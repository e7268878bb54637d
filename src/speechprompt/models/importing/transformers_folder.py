"""Import of encoders from a folder of ``transformers``, the layout of the Hugging Face hub.

How ``transformers`` calls the settings and weights that torchaudio has is in
``data/transformers_folder.yaml``. ``preprocessor_config.json`` says whether waveforms are
normalised.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from torch import Tensor

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.downloads.model_folder import (
    CONFIG,
    INDEX,
    ORIGIN,
    PREPROCESSOR,
    files_of_weights,
    folder_files,
    folder_of,
    read_object,
)
from speechprompt.encoders.weights import Architecture, check_layers
from speechprompt.errors import ArtefactError, AssetError, some_of
from speechprompt.models.importing.fairseq_settings import demand, shown
from speechprompt.models.importing.pickles import (
    identify,
    load_checkpoint,
    named_tensors,
    published,
)
from speechprompt.storage.package_data import data_file
from speechprompt.storage.tensors import check_shapes, read_tensors, shapes_of

__all__ = [
    "NORMED",
    "TABLE",
    "folder_source",
    "import_folder",
    "read_folder_weights",
    "transformers_name",
]

TABLE = yaml.safe_load(data_file(__file__, ".yaml").read_text(encoding="utf-8"))
TRAINING, HEADS = re.compile(TABLE["training"]), re.compile(TABLE["heads"], re.VERBOSE)
NORMED: dict[str, str] = TABLE["weight_norm"]
# What transformers adds to the variance of a waveform.
NORMALIZE_EPSILON = 1e-7


def import_folder(
    checkpoint: str | Path,
    out: str | Path,
    architecture: Architecture,
    *,
    normalize: bool | None = None,
    trust: bool = False,
) -> None:
    """Import an encoder.

    Args:
        checkpoint: The folder, or its config.json.
        out: The safetensors file.
        architecture: What the model must be; its kind is ``model_type`` in config.json.
        normalize: Whether waveforms are normalised; None asks preprocessor_config.json.
        trust: Run all code that a pickle in the folder asks for; only for your own files.

    Raises:
        AssetError: a file is missing, is damaged or would run code.
        ArtefactError: this is another model, or a weight is missing, surplus or of another shape.
    """
    folder = folder_of(checkpoint)
    files, source = folder_files(folder), folder_source(folder)
    with published(folder):
        config = _config(folder, architecture, normalize)
        tensors = _own(read_folder_weights(files, trust), architecture.kind, folder)
        shapes = architecture.shapes(folder, config)
        names = {transformers_name(name): name for name in shapes}
        expected = {theirs: shapes[ours] for theirs, ours in names.items()}
        model = architecture.description.format(**config)
        check_shapes(folder, model, expected=expected, found=shapes_of(tensors))
        weights = {names[name]: tensor.float() for name, tensor in tensors.items()}
        architecture.write(out, weights, config, {"source": source})


def folder_source(folder: Path) -> dict[str, Any]:
    """Where a folder is from, and the sums of the files that are read, for metadata.

    Raises:
        AssetError: a file is missing.
        ArtefactError: the index of the weights, or the note of the origin is damaged.
    """
    sums = {path.name: identify(path)["sha256"] for path in folder_files(folder)}
    origin = read_object(folder / ORIGIN) if (folder / ORIGIN).is_file() else {}
    return {**origin, "folder": folder.name, "sha256": sums}


def _config(folder: Path, architecture: Architecture, normalize: bool | None) -> dict[str, Any]:
    """Convert the settings to the configuration of an encoder."""
    origin, kind = str(folder / CONFIG), architecture.kind
    settings = read_object(folder / CONFIG)
    if settings.get("model_type") != kind:
        raise ArtefactError(
            f"{origin}: expected model_type {kind!r}, found {shown(settings.get('model_type'))}"
        )
    demand(settings, TABLE["fixed"], origin)
    norm = settings.get("feat_extract_norm", "group")
    if norm not in (norms := TABLE["norms"]):
        raise ArtefactError(
            f"{origin}: setting feat_extract_norm: expected one of {', '.join(norms)}, found "
            f"{shown(norm)}"
        )
    convolutions = [
        _setting(settings, name, default, origin) for name, default in TABLE["convolutions"].items()
    ]
    if len({len(column) for column in convolutions}) != 1:
        raise ArtefactError(
            f"{origin}: settings {', '.join(TABLE['convolutions'])}: expected a value of each for "
            f"every convolution, found {[len(column) for column in convolutions]}"
        )
    table = TABLE["settings"] | TABLE["settings_of"].get(kind, {})
    config = {
        ours: _setting(settings, name, default, origin) for ours, (name, default) in table.items()
    }
    check_layers(origin, "setting num_hidden_layers", config["encoder_num_layers"])
    config |= {
        "extractor_mode": norms[norm],
        "extractor_conv_layer_config": [list(layer) for layer in zip(*convolutions, strict=True)],
        "normalize_waveform": _normalizes(folder, normalize),
        "normalize_epsilon": NORMALIZE_EPSILON,
    }
    if not config["normalize_waveform"]:
        del config["normalize_epsilon"]
    # A file has only those optional keys whose value is not the usual one.
    usual = architecture.optional
    return {key: value for key, value in config.items() if key not in usual or value != usual[key]}


def _setting(settings: Mapping[str, Any], name: str, default: Any, origin: str) -> Any:
    """A setting of the same type as its default."""
    value = settings.get(name, default)
    if isinstance(default, list):
        fits = isinstance(value, list) and all(type(item) is int for item in value)
        expected = "whole numbers"
    elif isinstance(default, float):
        fits, expected = type(value) in (int, float), "a number"
    else:
        fits, expected = type(value) is type(default), type(default).__name__
    if not fits:
        raise ArtefactError(f"{origin}: setting {name}: expected {expected}, found {shown(value)}")
    return value


def _normalizes(folder: Path, normalize: bool | None) -> bool:
    """Whether waveforms are normalised: as given, or as the preprocessor's file says."""
    path = folder / PREPROCESSOR
    if not path.is_file():
        if normalize is None:
            raise AssetError(
                f"{folder}: expected {PREPROCESSOR}, which says whether waveforms are normalised; "
                "without it, set `normalize` to true or false"
            )
        return normalize
    settings = read_object(path)
    rate = _setting(settings, "sampling_rate", SAMPLE_RATE, str(path))
    if rate != SAMPLE_RATE:
        raise ArtefactError(f"{path}: setting sampling_rate: expected {SAMPLE_RATE}, found {rate}")
    stated = _setting(settings, "do_normalize", True, str(path))
    return stated if normalize is None else normalize


def read_folder_weights(files: list[Path], trust: bool) -> dict[str, Tensor]:
    """Read the weights of a folder, each file of which must have what the index says.

    Args:
        files: What :func:`~speechprompt.downloads.model_folder.folder_files` gives.
        trust: Run all code that a pickle among them asks for.

    Raises:
        ArtefactError: a file is damaged, or has other weights than the index says.
        AssetError: a pickle is damaged or would run code.
    """
    parts = [path for path in files if path.name not in (CONFIG, PREPROCESSOR)]
    index = files_of_weights(parts.pop(0)) if parts[0].name.endswith(INDEX) else None
    tensors: dict[str, Tensor] = {}
    for path in parts:
        if path.suffix == ".safetensors":
            found, _ = read_tensors(path)
        else:
            found = named_tensors(load_checkpoint(path, trust=trust), str(path))
        if index is not None:
            listed = {name for name, file in index.items() if file == path.name}
            if wrong := sorted(listed ^ found.keys()):
                raise ArtefactError(
                    f"{path}: expected the weights that the index lists for it, found a difference "
                    f"in {some_of(wrong)}"
                )
        tensors |= found
    return tensors


def _own(tensors: Mapping[str, Tensor], kind: str, folder: Path) -> dict[str, Tensor]:
    """The model's weights by their names of today, without its prefix and without heads."""
    prefix = f"{kind}." if any(name.startswith(f"{kind}.") for name in tensors) else ""
    own: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not name.startswith(prefix) and HEADS.fullmatch(name):
            continue
        module, _, last = name.removeprefix(prefix).rpartition(".")
        today = f"{module}.{NORMED[last]}" if last in NORMED else name.removeprefix(prefix)
        if TRAINING.fullmatch(today):
            continue
        if today in own:
            raise ArtefactError(f"{folder}: weight {today} is there twice, by two names")
        own[today] = tensor
    return own


def transformers_name(ours: str) -> str:
    """The name in transformers of a weight, by its name in torchaudio."""
    for beginning, theirs in TABLE["weights"].items():
        if ours.startswith(beginning):
            return theirs + ours.removeprefix(beginning)
    raise AssertionError(ours)  # an architecture with other modules than torchaudio's
