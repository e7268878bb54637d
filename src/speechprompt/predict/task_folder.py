"""``model.json`` in a finished task's folder: which files the task needs to answer new audio.

It names the prompt, the unit LM, the codebook and the encoder's weights by hash and by path, and
the corpus of the recordings. Paths are relative to the task's folder, so that the run may be copied
or moved. A file outside the run keeps the path that the configuration gives it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechprompt.audio.speed import check_speeds
from speechprompt.config.tasks import SCORE_FILES, DecodingSettings
from speechprompt.errors import ArtefactError
from speechprompt.models.shipped import SHIPPED, TASKS, former_version, shipped_model
from speechprompt.storage.files import content_of, read_json, write_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensor_header, read_tensor_metadata

__all__ = [
    "MODEL",
    "TaskFolder",
    "describe_model",
    "find_manifest",
    "find_task",
    "is_task_folder",
    "open_task",
]

MODEL = "model.json"
FORMAT = "speechprompt model 1"
PROMPT = "prompt.safetensors"
ANSWERING = ("prompt", "finetune")


@dataclass(frozen=True)
class TaskFolder:
    """A finished task whose files have been verified by hash.

    Attributes:
        task: name of the task.
        folder: the task's folder.
        prompt, unit_lm, codebook: files of the models.
        unit_lm_sha256: hash of the unit LM.
        encoder: settings of :func:`~speechprompt.encoders.load_encoder`.
        deduplicate: whether repeated units are collapsed.
        speeds: further speeds that recordings are heard at.
        decoding: how answers are found.
        described: metadata of the prompt.
    """

    task: str
    folder: Path
    prompt: Path
    unit_lm: Path
    unit_lm_sha256: str
    codebook: Path
    encoder: dict[str, Any]
    deduplicate: bool
    speeds: list[float]
    decoding: dict[str, Any]
    described: dict[str, Any]


def describe_model(
    out: str | Path,
    *,
    task: str,
    prompt: str | Path,
    unit_lm: str | Path,
    decoding: DecodingSettings,
    codebook: str | Path | None = None,
    encoder: dict[str, Any] | None = None,
    deduplicate: bool = True,
    speeds: Sequence[float] = (),
    corpus: str | None = None,
) -> None:
    """Write a task's ``model.json``.

    Args:
        out: model.json to write, in the task's folder.
        task: name of the task.
        prompt: trained prompt; the task's folder has a copy of it.
        unit_lm: unit LM of the prompt.
        codebook: codebook of the units; a task on ready units has none.
        encoder: settings of the encoder; a task on ready units has none.
        deduplicate: whether repeated units are collapsed.
        speeds: further speeds that recordings are heard at.
        decoding: how answers are found.
        corpus: corpus of the recordings, where there are any.

    Raises:
        ArtefactError: a file is damaged, or the prompt is not the one that was scored.
    """
    from speechprompt.evaluation.scores import check_scored

    read_tensor_header(prompt)
    check_scored(prompt)
    folder = Path(out).parent
    settings = dict(encoder or {})
    weights = settings.pop("weights", None)
    value = {
        "format": FORMAT,
        "task": task,
        "prompt": {"path": PROMPT, "sha256": sha256_file(prompt)},
        "unit_lm": _reference(unit_lm, folder),
        "codebook": codebook and _reference(codebook, folder),
        "encoder": encoder and {"settings": settings, "weights": _reference(weights, folder)},
        "deduplicate": deduplicate,
        "speeds": list(speeds),
        "decoding": decoding.model_dump(),
        "corpus": corpus,
    }
    write_json(out, value)


def find_task(path: str | Path) -> Path:
    """The folder of a task: the path, or where there is none, the task that ships by this name."""
    return Path(path) if os.path.lexists(path) else TASKS.get(str(path), Path(path))


def is_task_folder(path: str | Path) -> bool:
    """Whether a path is the folder of a task, finished or not, or the name of one that ships."""
    found = find_task(path)
    return any(os.path.isfile(found / name) for name in (MODEL, PROMPT, "metrics.json"))


def find_manifest(folder: str | Path, split: str) -> Path | None:
    """The manifest of a split of a finished task's corpus.

    None where it is not there any more, or where the task's ``model.json`` names no corpus, as that
    of an enrolled task.

    Raises:
        ArtefactError: the folder is not that of a finished task.
    """
    folder = find_task(folder)
    if not isinstance(corpus := _read_model(folder).get("corpus"), str):
        return None
    results = folder.absolute().parents[:2]  # a fold has a folder of its own in the task's
    places = (place / "manifests" / corpus / f"{split}.parquet" for place in results)
    return next((place for place in places if place.is_file()), None)


def open_task(folder: str | Path, weights: str | Path | None = None) -> TaskFolder:
    """Find and verify the files of a finished task.

    Args:
        folder: the task's folder, such as ``results/ks``, or the name of a task that ships.
        weights: the encoder's weights, if they have been moved.

    Raises:
        ArtefactError: the folder is not that of a finished task, a file is missing or has another
            hash, or the task cannot answer audio.
    """
    folder = find_task(folder)
    value = _read_model(folder)
    with content_of(folder / MODEL):
        if value["encoder"] is None or value["codebook"] is None:
            raise ArtefactError(
                f"{folder}: trained on ready units, whose encoder is not known; it cannot "
                "answer audio"
            )
        prompt = _find(folder, value["prompt"], "prompt")
        encoder = dict(value["encoder"]["settings"])
        if (reference := value["encoder"]["weights"]) is not None:
            # Resolved, so that tasks which share the file load it once.
            encoder["weights"] = str(_find_weights(folder, reference, weights).resolve())
        return TaskFolder(
            task=value["task"],
            folder=folder,
            prompt=prompt,
            unit_lm=_find(folder, value["unit_lm"], "unit LM"),
            unit_lm_sha256=value["unit_lm"]["sha256"],
            codebook=_find(folder, value["codebook"], "codebook"),
            encoder=encoder,
            deduplicate=value["deduplicate"],
            speeds=_speeds(value),
            decoding=value["decoding"],
            described=read_tensor_metadata(prompt),
        )


def _speeds(value: dict[str, Any]) -> list[float]:
    """The speeds in a model.json; one of an earlier version has none."""
    speeds = list(map(float, value.get("speeds", [])))
    check_speeds(speeds)
    return speeds


def _reference(path: str | Path | None, folder: Path) -> dict[str, str] | None:
    """Path relative to the folder, and hash; a file outside the run keeps its absolute path."""
    if path is None:
        return None
    read_tensor_header(path)  # raises an error if the file is damaged
    run = folder.absolute().parent.parent
    stays = Path(path).is_absolute() and not Path(path).is_relative_to(run)
    place = Path(path if stays else os.path.relpath(path, folder))
    return {"path": place.as_posix(), "sha256": sha256_file(path)}


def _read_model(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise ArtefactError(f"{folder}: expected the folder of a task, such as results/ks")
    if not (folder / MODEL).is_file():
        metrics = folder / "metrics.json"
        with content_of(metrics):
            found = read_json(metrics) if metrics.is_file() else {}
            method, n_folds = found.get("method"), len(found.get("per_fold", ()))
            score = SCORE_FILES.get(found.get("type", ""), "metrics.json")
        if n_folds:
            raise ArtefactError(
                f"{folder}: cross-validated, so that each of its {n_folds} folds has a prompt of "
                f"its own; finish one, such as with `snakemake {folder}/fold-1/{score}`, and take "
                f"{folder}/fold-1, or train a task without `crossvalidate`"
            )
        if method is not None and method not in ANSWERING:
            raise ArtefactError(
                f"{folder}: method {method!r} cannot be used on new audio; expected one of "
                f"{', '.join(ANSWERING)}"
            )
        raise ArtefactError(
            f"{folder}: expected the folder of a finished task, but there is no {MODEL}; finish it "
            "again, such as with `snakemake results/ks/acc.txt`"
        )
    value = read_json(folder / MODEL)
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        raise ArtefactError(f"{folder / MODEL}: expected format {FORMAT!r}; finish the task again")
    return value


def _find(folder: Path, reference: dict[str, str], what: str) -> Path:
    path = folder / reference["path"]
    missing = f"the {what} of {folder} is missing; copy it there, or the whole run"
    return _shipped(path, reference) or _verify(path, reference, folder, what, missing)


def _shipped(path: Path, reference: dict[str, str]) -> Path | None:
    """The model that the package ships in the place of a file that is not there."""
    names = [name for name, known in SHIPPED.items() if known == reference["sha256"]]
    return shipped_model(names[0]) if names and not path.is_file() else None


def _find_weights(folder: Path, reference: dict[str, str], given: str | Path | None) -> Path:
    """The encoder's weights: as given, in their old place, or as the package ships them."""
    path = folder / reference["path"]
    missing = (
        f"the encoder's weights of {folder} are missing; copy them there, or say where they are "
        "with --weights"
    )
    if given is not None:
        path, missing = Path(given), "expected the encoder's weights, found no file"
    elif shipped := _shipped(path, reference):
        return shipped
    return _verify(path, reference, folder, "encoder", missing)


def _verify(path: Path, reference: dict[str, str], folder: Path, what: str, missing: str) -> Path:
    """Check that a file is there, or say how it is missing, and that it has its old hash."""
    if not path.is_file():
        raise ArtefactError(f"{path}: {missing}{former_version(reference['sha256'])}")
    if (found := sha256_file(path)) != reference["sha256"]:
        raise ArtefactError(
            f"{path}: the {what} of {folder / MODEL} has sha256 {reference['sha256']}, but this "
            f"file {found}; it was replaced since, restore it or train the prompt again"
            f"{former_version(reference['sha256'])}"
        )
    return path
