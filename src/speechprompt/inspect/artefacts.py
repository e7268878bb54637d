"""The description of an artefact: kind, counts, schema, metadata, hashes, provenance, first rows.

Only what is shown is read: the footer and the first rows of a Parquet file, the header of a
safetensors file. The hash takes one pass over the bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import pyarrow as pa

from speechprompt.errors import ArtefactError
from speechprompt.storage.files import check_intact, content_of, read_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.parquet import metadata_of, open_parquet
from speechprompt.storage.tensors import read_tensor_header

__all__ = ["Inspection", "inspect_artefact", "results_folder"]

# Kind of a Parquet file by the first of these columns or keys of the metadata that it has.
PARQUET_KINDS = {
    "codebook_sha256": "units of a shard",
    "n_samples": "manifest of a split",
    "reason": "recordings that were rejected",
    "speechprompt": "predictions",
    "lr": "learning curve",
    "phones": "phone alignments",
    "pnmi": "quality of units",
    "mean_length": "error by length of the answer",
    "gain_value": "table of results",
}
TENSOR_KINDS = {"speechprompt prompt 1": "prompt", "speechprompt unit LM 1": "unit LM"}
JSON_KINDS = {
    "parts": "units of a split",
    "main": "metrics",
    "format": "what a finished task needs to answer audio",
}


@dataclass
class Inspection:
    """The description of an artefact.

    Attributes:
        path: file of the artefact.
        kind: its kind in words.
        facts: counts and sizes.
        schema: type of every column, or type and shape of every tensor.
        metadata: metadata of the file.
        provenance: hash of each file that it was made from, and whether a file here has that hash.
        rows: first rows.
    """

    path: str
    kind: str
    facts: dict[str, Any] = field(default_factory=dict)
    schema: dict[str, str] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)
    provenance: dict[str, str] = field(default_factory=dict)
    rows: list[dict[str, Any]] = field(default_factory=list)


def inspect_artefact(path: str | Path, n_rows: int = 5) -> Inspection:
    """Describe an artefact.

    Args:
        path: Parquet, safetensors or JSON file of the pipeline, or a folder with an ``index.json``
            or of a finished task.
        n_rows: number of first rows to show.

    Raises:
        ArtefactError: the artefact is missing, damaged or of another kind.
    """
    path, result = Path(path), {}
    if path.is_dir():
        result = _result_of(path)
        path = _main_file(path)
    readers = {".parquet": _parquet, ".safetensors": _tensors, ".json": _json}
    if not path.is_file():
        raise ArtefactError(f"{path}: file not found")
    if path.suffix not in readers:
        raise ArtefactError(
            f"{path}: expected one of {', '.join(readers)}, or a folder with index.json or of a "
            "finished task"
        )
    with content_of(path):
        found = readers[path.suffix](path, n_rows)
    found.facts = {**result, **found.facts, "content": content_state(path)}
    found.facts |= {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
    return found


def content_state(path: str | Path) -> str:
    """Whether a file's content is what was written, as far as a hash in it tells."""
    try:
        return "as written" if check_intact(path) else "unknown, it has no hash"
    except ArtefactError:
        return "damaged"


def results_folder(path: str | Path) -> Path | None:
    """The folder of the results that an artefact belongs to: the nearest one with codebooks."""
    parents = Path(path).absolute().parents
    return next((folder for folder in parents if (folder / "codebooks").is_dir()), None)


def _main_file(folder: Path) -> Path:
    for name in ("index.json", "model.json", "metrics.json"):
        if (folder / name).is_file():
            return folder / name
    raise ArtefactError(f"{folder}: expected a folder with index.json, model.json or metrics.json")


def _result_of(folder: Path) -> dict[str, str]:
    """The score of a finished task beside its baseline; nothing where there is none."""
    metrics = folder / "metrics.json"
    if not metrics.is_file():
        return {}
    from speechprompt.evaluation.scores import Metrics
    from speechprompt.evaluation.standing import Standing

    try:
        found = Standing.of(Metrics.read(metrics))
    except ArtefactError as error:
        return {"result": f"unknown ({error})"}
    result = f"{found.metric} {found.written()}, {found.split} split, {found.score.n} utterances"
    return {"result": result, "baseline": f"{found.written_baseline()}: {found.verdict}"}


def _parquet(path: Path, n_rows: int) -> Inspection:
    with open_parquet(path) as file:
        schema, footer = file.schema_arrow, file.metadata
        raw = metadata_of(schema)
        metadata = {k: _value(v) for k, v in raw.items() if k not in ("ARROW:schema", "pandas")}
        names = schema.names
        first = next(file.iter_batches(batch_size=max(n_rows, 1)), None)
    if "frames" in names:
        kind = "features of a shard" if "utt_id" in names else "sample of frames"
    else:
        marks = (mark for mark in PARQUET_KINDS if mark in names or mark in metadata)
        kind = PARQUET_KINDS.get(next(marks, ""), "table")
    return Inspection(
        str(path),
        kind,
        facts={"rows": footer.num_rows, "row_groups": footer.num_row_groups},
        schema={column.name: _type(column.type) for column in schema},
        metadata=metadata.pop("speechprompt", {}) | metadata,
        provenance=_codebook_provenance(path, metadata),
        rows=first.to_pylist()[:n_rows] if first is not None else [],
    )


def _tensors(path: Path, n_rows: int) -> Inspection:
    tensors, metadata = read_tensor_header(path, checked=False)
    kind = TENSOR_KINDS.get(metadata.get("format", ""), "tensors")
    if "centroids" in tensors:
        kind = "codebook"
    elif "kind" in metadata and "config" in metadata:
        kind = f"encoder ({metadata['kind']})"
    provenance = {} if kind == "codebook" else _codebook_provenance(path, metadata)
    if "lm_sha256" in metadata:
        models = "lm/*/model.safetensors"
        provenance["unit LM"] = _searched(metadata["lm_sha256"], path, models)
    numbers = sum(prod(tensor["shape"]) for tensor in tensors.values())
    schema = {name: f"{tensor['dtype']} {tensor['shape']}" for name, tensor in tensors.items()}
    facts = {"tensors": len(tensors), "numbers": numbers}
    return Inspection(str(path), kind, facts, schema, metadata, provenance)


def _json(path: Path, n_rows: int) -> Inspection:
    value = read_json(path)
    if not isinstance(value, Mapping):
        raise ArtefactError(f"{path}: expected an object, found {type(value).__name__}")
    kind = next((kind for mark, kind in JSON_KINDS.items() if mark in value), "JSON")
    found = Inspection(str(path), kind, metadata=dict(value))
    if kind == JSON_KINDS["parts"]:
        parts = found.metadata.pop("parts")
        found.facts = {"rows": value["n_utterances"], "parts": len(parts)}
        found.provenance = _codebook_provenance(path, value) | {
            part["name"]: _named(part["sha256"], path.parent / part["name"]) for part in parts
        }
        if parts and (path.parent / parts[0]["name"]).is_file():
            part = _parquet(path.parent / parts[0]["name"], n_rows)
            found.schema, found.rows = part.schema, part.rows
    elif kind == JSON_KINDS["format"]:
        files = {
            name: value[name.replace(" ", "_").lower()]
            for name in ("prompt", "unit LM", "codebook")
        }
        files["encoder"] = (value["encoder"] or {}).get("weights")
        found.provenance = {
            name: _named(file["sha256"], path.parent / file["path"])
            for name, file in files.items()
            if file is not None
        }
    elif kind == JSON_KINDS["main"]:
        scores = {
            "prediction": value["splits"],
            **{f"baseline {name}": scores for name, scores in value.get("floors", {}).items()},
        }
        found.metadata = {k: v for k, v in value.items() if k not in ("splits", "floors", "gains")}
        found.rows = [
            {
                **{"of": of, "split": split, "metric": name, "value": score["value"]},
                **dict(zip(("low", "high"), score["interval"], strict=True)),
                "n": score["n"],
            }
            for of, splits in scores.items()
            for split, metrics in splits.items()
            for name, score in metrics.items()
        ]
    return found


def _codebook_provenance(path: Path, metadata: Mapping[str, Any]) -> dict[str, str]:
    if "codebook_sha256" not in metadata:
        return {}
    sha256 = metadata["codebook_sha256"]
    return {"codebook": _searched(sha256, path, "codebooks/*.safetensors")}


def _named(sha256: str, path: Path) -> str:
    """A hash, and whether the file that should have it has it."""
    if not path.is_file():
        return f"{sha256}, but {_near(path)} is missing"
    same = sha256_file(path) == sha256
    return f"{sha256} = {_near(path)}" if same else f"{sha256}, but {_near(path)} has another"


def _searched(sha256: str, path: Path, pattern: str) -> str:
    """A hash, and the file of the same results that has it."""
    folder = results_folder(path)
    candidates = sorted(folder.glob(pattern)) if folder else []
    same = next((file for file in candidates if sha256_file(file) == sha256), None)
    return f"{sha256}, not found here" if same is None else f"{sha256} = {_near(same)}"


def _near(path: Path) -> str:
    """A path relative to the working directory, if it is below it."""
    path = path.resolve()
    here = Path.cwd()
    return str(path.relative_to(here) if path.is_relative_to(here) else path)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _type(kind: pa.DataType) -> str:
    return str(kind).replace("element: ", "").replace("item: ", "")
