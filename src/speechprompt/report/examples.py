"""Utterances to listen to: those from which one learns most about a task's answers."""

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from speechprompt.audio.reading import SAMPLE_RATE, read_audio
from speechprompt.config.tasks import DecodingSettings
from speechprompt.corpora.manifest import read_root
from speechprompt.evaluation.predictions import about_predictions, read_predictions
from speechprompt.storage.parquet import read_parquet, write_parquet
from speechprompt.units.unit_files import read_renditions, read_units

__all__ = ["EXAMPLES_SCHEMA", "choose_examples", "choose_rows", "outline_peaks", "wrong_answers"]

EXAMPLES_SCHEMA = pa.schema(
    {
        "utt_id": pa.string(),
        "speaker": pa.string(),
        "why": pa.string(),  # confident error, unsure hit, or random
        "reference": pa.string(),
        "prediction": pa.string(),
        "score": pa.float64(),  # log-probability of the prediction, calibrated
        "units": pa.list_(pa.int16()),
        "durations": pa.list_(pa.int16()),
        "frame_rate": pa.float64(),
        "probabilities": pa.string(),  # JSON, the most probable labels first; or null
        "peaks": pa.list_(pa.float32()),  # loudest sample of each of equal parts, 0 to 1
        "seconds": pa.float64(),
        "audio": pa.binary(),  # OGG/Opus or FLAC; or null
        "audio_type": pa.string(),
    }
)
# A page has the audio as text, which is a third longer: 2 MB a task.
MOST_AUDIO = 1_500_000  # bytes
PEAKS = 160
SHOWN_LABELS = 5


def choose_examples(
    predictions: str | Path,
    index: str | Path,
    out: str | Path,
    *,
    manifest: str | Path | None = None,
    prompt: str | Path | None = None,
    unit_lm: str | Path | None = None,
    decoding: DecodingSettings | None = None,
    examples: int = 30,
    seed: int = 1,
) -> None:
    """Choose utterances of the scored split to listen to, and write all that a page shows of them.

    Args:
        predictions: predictions of the task.
        index: index.json of the split that was scored last.
        out: Parquet file to write, with the columns of :data:`EXAMPLES_SCHEMA`.
        manifest: manifest of the split; without it there is no audio.
        prompt: trained prompt; without it only the answer itself has a probability, which is not
            calibrated.
        unit_lm: unit LM of the prompt.
        decoding: how answers are found.
        examples: number of utterances.
        seed: seed of those that are drawn at random.

    Raises:
        ArtefactError: a file is damaged, or the files do not belong together.
        CorpusError: a recording cannot be read any more.
    """
    table = read_predictions(predictions)
    chosen = choose_rows(table, examples, seed)
    split = read_units(index)
    place = {utt_id: row for row, utt_id in enumerate(split["utt_id"].to_pylist())}
    answered = table.take(list(chosen)).to_pylist()
    units = split.take([place[row["utt_id"]] for row in answered])
    rate = (split.schema.metadata or {}).get(b"frame_rate")
    rows: list[dict[str, Any]] = [
        {name: row.get(name) for name in ("utt_id", "speaker", "reference", "prediction", "score")}
        | {"why": why, "units": heard["units"], "durations": heard["durations"]}
        | {"frame_rate": None if rate is None else float(rate)}
        for row, heard, why in zip(answered, units.to_pylist(), chosen.values(), strict=True)
    ]
    if prompt is not None and unit_lm is not None:
        decoding = decoding or DecodingSettings()
        _add_probabilities(rows, read_renditions(units), prompt, unit_lm, index, decoding)
    if manifest is not None:
        _add_audio(rows, manifest)
    write_parquet(out, pa.Table.from_pylist(rows, schema=EXAMPLES_SCHEMA))


def choose_rows(table: pa.Table, n: int, seed: int) -> dict[int, str]:
    """Choose rows of a predictions file, and say why: a third for each reason.

    Of the errors, one of each confusion comes first.

    Returns:
        ``confident error``, ``unsure hit`` or ``random``, by row.
    """
    wrong = wrong_answers(table)
    # Longer answers are less probable, whatever they are: compare them by their length.
    length = np.array([max(len(text), 1) for text in table["prediction"].to_pylist()])
    is_text = about_predictions(table)["type"] != "classification"
    score = table["score"].to_numpy() / (length if is_text else 1)
    order = np.argsort(-score, kind="stable")
    third = -(-n // 3)
    sides = (table[name].to_pylist() for name in ("reference", "prediction"))
    answers = list(zip(*sides, strict=True))
    errors = order[wrong[order]].tolist()
    first = {answers[row]: row for row in reversed(errors)}
    errors.sort(key=lambda row: first[answers[row]] != row)
    found = dict.fromkeys(errors[:third], "confident error")
    hits = order[::-1][~wrong[order[::-1]]]
    found |= {int(row): "unsure hit" for row in hits[:third]}
    drawn = np.random.default_rng(seed).permutation(len(table)).tolist()
    left = [row for row in drawn if row not in found][: max(n - len(found), 0)]
    return dict(list((found | dict.fromkeys(left, "random")).items())[:n])


def wrong_answers(table: pa.Table) -> np.ndarray:
    """Whether the answer of each utterance differs from its reference."""
    return np.array(table["reference"].to_pylist()) != np.array(table["prediction"].to_pylist())


def _add_probabilities(
    rows: Sequence[dict[str, Any]],
    renditions: Sequence[Sequence[np.ndarray]],
    prompt: str | Path,
    unit_lm: str | Path,
    index: str | Path,
    decoding: DecodingSettings,
) -> None:
    """Add what a classification's probabilities are after calibration, as new audio gets them.

    These are the answer's, and those of the labels where there is one label column.

    Raises:
        ArtefactError: the prompt is damaged, or cannot give the answers.
    """
    from speechprompt.prompting.calibration import answer_shares, calibrated, checked_temperature
    from speechprompt.prompting.decoding import predict
    from speechprompt.prompting.task_file import load_task_model
    from speechprompt.runtime.precision import resolve_precision
    from speechprompt.storage.files import content_of, read_json
    from speechprompt.storage.tensors import read_tensor_metadata
    from speechprompt.tasks.labels import restore_labels

    described = read_tensor_metadata(prompt)
    with content_of(prompt):
        labels = restore_labels(described["answers"])
        temperature = checked_temperature(described.get("temperature"))
    if labels.type != "classification":
        return
    dtype = resolve_precision(decoding.precision, "cpu")
    model = load_task_model(prompt, unit_lm, read_json(index)["codebook_sha256"], dtype, "cpu")
    found = predict(
        *(model, [np.asarray(row["units"], np.int64) for row in rows], decoding),
        renditions=renditions,
    )
    if found.label_scores is None:
        return
    shares = calibrated(found.label_scores, temperature, labels.allowed)
    with content_of(prompt):
        given = np.array([labels.encode(row["prediction"]) for row in rows])
    sure = answer_shares(shares, given, found.combinations)
    for row, label_shares, share in zip(rows, shares, sure, strict=True):
        row["score"] = float(np.log(share))
        if len(labels.columns) == 1:
            best = np.argsort(-label_shares, kind="stable")[:SHOWN_LABELS]
            shown = {labels.names[i]: round(float(label_shares[i]), 6) for i in best}
            row["probabilities"] = json.dumps(shown, ensure_ascii=False)


def _add_audio(rows: Sequence[dict[str, Any]], manifest: str | Path) -> None:
    """Add the recordings, as many as fit into :data:`MOST_AUDIO`, and their outlines."""
    table, root = read_parquet(manifest, ["utt_id", "path"]), read_root(manifest)
    path_of = dict(zip(table["utt_id"].to_pylist(), table["path"].to_pylist(), strict=True))
    left = MOST_AUDIO
    for row in rows:
        samples = read_audio(root / path_of[row["utt_id"]])
        row["peaks"] = outline_peaks(samples)
        row["seconds"] = len(samples) / SAMPLE_RATE
        audio, kind = compress(samples)
        if len(audio) <= left:
            row["audio"], row["audio_type"] = audio, kind
            left -= len(audio)


def outline_peaks(samples: np.ndarray) -> list[float]:
    """The loudest sample of each of equal parts of a waveform, 0 to 1 of the loudest of all."""
    edges = np.linspace(0, len(samples), min(PEAKS, len(samples)) + 1).astype(int)[:-1]
    peaks = np.maximum.reduceat(np.abs(samples), edges)
    return (peaks / max(float(peaks.max()), 1e-4)).tolist()


def compress(samples: np.ndarray) -> tuple[bytes, str]:
    """Compress a waveform of 16 kHz to OGG/Opus, or to FLAC where libsndfile has no Opus.

    Returns:
        The file and its media type.
    """
    import soundfile

    opus = "OPUS" in soundfile.available_subtypes("OGG")
    stream = io.BytesIO()
    kind = {"format": "OGG", "subtype": "OPUS"} if opus else {"format": "FLAC"}
    soundfile.write(stream, np.clip(samples, -1, 1), SAMPLE_RATE, **kind)
    return stream.getvalue(), "audio/ogg" if opus else "audio/flac"
