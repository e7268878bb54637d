"""How well units tell phones apart: purities and mutual information, frame by frame.

HuBERT's clusters are measured in this way (Hsu et al. 2021, arXiv 2106.07447; fairseq computes it
in examples/hubert/measure_teacher_quality.py). Let p(y, z) be the share of the frames that have
phone y and unit z:

- Phone purity is the mean over frames of p(y|z) for the most frequent phone of the unit. It is the
  accuracy of guessing phones from units, and grows with the number of units.
- Cluster purity is the mean of p(z|y) for the most frequent unit of the phone. It falls with the
  number of units.
- PNMI is the phone-normalised mutual information I(y; z) / H(y): the share of the uncertainty about
  the phone that the unit removes. It is 1 where units determine phones.

All three are biased upwards on few frames, and more so with many units. A bootstrap resample has
fewer distinct utterances and therefore a larger bias. The intervals are the spread of the resamples
around the measured value, without that shift.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict
from scipy import sparse

from speechprompt.corpora.synthetic.phones import SILENCE
from speechprompt.errors import ArtefactError
from speechprompt.evaluation.metrics import Score, resample, score_draws
from speechprompt.runtime.progress import log
from speechprompt.storage.files import read_json, write_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.parquet import metadata_of, read_parquet
from speechprompt.units.unit_files import read_units

__all__ = ["METRICS", "UnitQuality", "frame_centres", "measure", "measure_units", "phones_at"]

METRICS = ("phone_purity", "cluster_purity", "pnmi")
# A frame is computed from 400 samples at 16 kHz: the receptive field of HuBERT's convolutions, and
# the window of MFCC and log-mel.
WINDOW_SECONDS = 0.025
# Middle of the first frame of encoders whose first window does not start with the audio: CPC's
# reaches from sample -153 to 311.
FIRST_CENTRES = {"cpc": 79 / 16_000}


class UnitQuality(BaseModel):
    """The content of results/quality/{codebook}.json.

    ``frames`` has the metrics over ``all`` frames and over those of ``speech``, without silence.
    They are fractions with bootstrap intervals over utterances. ``encoder`` is a name.
    """

    model_config = ConfigDict(extra="forbid")

    codebook: str
    encoder: str
    layer: int | None
    n_units: int
    corpus: str
    split: str
    n_utterances: int
    n_phones: int
    n_frames: dict[str, int]
    frames: dict[str, dict[str, Score]]
    hashes: dict[str, str]


def frame_centres(n_frames: int, frame_rate: float, encoder: str) -> np.ndarray:
    """The middle of the window that each frame is computed from.

    Frame i of HuBERT or MFCC with 50 frames per second is computed from 400 samples, the first of
    which is sample 320 i. Therefore its middle is at (320 i + 200) / 16,000 s.

    Args:
        n_frames: Number of frames.
        frame_rate: Frames per second.
        encoder: Kind of the encoder.

    Returns:
        Seconds, float64 ``[n_frames]``.
    """
    first = FIRST_CENTRES.get(encoder, WINDOW_SECONDS / 2)
    return first + np.arange(n_frames) / frame_rate


def phones_at(phones: Sequence[Any], starts: Sequence[float], times: np.ndarray) -> np.ndarray:
    """The phone at each time.

    Args:
        phones: Names or numbers, in order.
        starts: Seconds, ascending, the first 0.
        times: Seconds ``[n]``.

    Returns:
        Names or numbers ``[n]``.
    """
    return np.asarray(phones)[np.searchsorted(starts, times, side="right") - 1]


def measure(counts: np.ndarray) -> tuple[float, float, float]:
    """Compute the three metrics in the order of :data:`METRICS`.

    Args:
        counts: Frames of each phone and unit, ``[n_phones, n_units]``, at least one.

    Returns:
        Fractions. PNMI is 0 where there is a single phone.
    """
    joint = counts / counts.sum()
    phone_purity, cluster_purity = joint.max(axis=0).sum(), joint.max(axis=1).sum()
    entropies = [_entropy(joint.sum(axis=1)), _entropy(joint.sum(axis=0)), _entropy(joint)]
    of_phones, of_units, of_both = entropies
    pnmi = (of_phones + of_units - of_both) / of_phones if of_phones else 0.0
    return float(phone_purity), float(cluster_purity), float(pnmi)


def measure_units(
    index_path: str | Path,
    alignments_path: str | Path,
    out: str | Path,
    *,
    encoder: str | None = None,
    seed: int = 0,
) -> UnitQuality:
    """Measure the units of a split against its phones.

    Args:
        index_path: index.json of the split's units.
        alignments_path: Phones of the same utterances, as align-phones writes them.
        out: JSON file to write.
        encoder: Name of the encoder (default: its kind).
        seed: Seed of the resampling.

    Raises:
        ArtefactError: the units have no frames, or belong to other recordings than the alignments.
    """
    units = read_units(index_path, ["utt_id", "units", "durations", "n_frames"])
    about = metadata_of(units.schema)
    if "frame_rate" not in about or units["durations"].null_count:
        raise ArtefactError(f"{index_path}: expected units of audio, found units without frames")
    alignments = read_parquet(alignments_path).to_pylist()
    if [row["utt_id"] for row in alignments] != units["utt_id"].to_pylist():
        raise ArtefactError(
            f"{alignments_path}: expected the utterances of {index_path} in its order, found "
            "others; align the split again"
        )
    index = read_json(index_path)
    names, counts = _count(
        units, alignments, json.loads(about["frame_rate"]), about["encoder"], index["n_units"]
    )
    speech = np.array([name != SILENCE for name in names])
    total = np.asarray(counts.sum(axis=0)).reshape(len(names), -1)
    if not total[speech].any():
        raise ArtefactError(f"{alignments_path}: expected speech, found silence alone")
    quality = UnitQuality(
        **{name: index[name] for name in ("codebook", "n_units", "corpus", "split")},
        encoder=encoder or about["encoder"],
        layer=json.loads(about.get("layer", "null")),
        n_utterances=units.num_rows,
        n_phones=int(speech.sum()),
        n_frames={"all": int(total.sum()), "speech": int(total[speech].sum())},
        frames=_score(counts, total, speech, seed),
        hashes={
            "codebook": index["codebook_sha256"],
            "units": sha256_file(index_path),
            "alignments": sha256_file(alignments_path),
        },
    )
    write_json(out, quality.model_dump(mode="json"))
    for frames, scores in quality.frames.items():
        values = ", ".join(f"{name} {100 * score.value:.2f} %" for name, score in scores.items())
        log(f"{quality.codebook}, {frames} frames: {values}")
    return quality


def _entropy(shares: np.ndarray) -> float:
    """The entropy in nats."""
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())


def _count(
    units: pa.Table, alignments: Sequence[dict], frame_rate: float, encoder: str, n_units: int
) -> tuple[list[str], sparse.csr_array]:
    """Frames of each phone and unit in every utterance.

    Returns:
        Names of the phones; counts ``[n_utterances, n_phones * n_units]``.

    Raises:
        ArtefactError: an utterance's frames do not end where its alignment does.
    """
    names = sorted({phone for row in alignments for phone in row["phones"]})
    number = {name: i for i, name in enumerate(names)}
    rows, cells = [], []
    for i, (spoken, row) in enumerate(zip(units.to_pylist(), alignments, strict=True)):
        frames = np.repeat(spoken["units"], spoken["durations"])
        times = frame_centres(len(frames), frame_rate, encoder)
        # The last frame lies within the recording, and the next one would not.
        if not 0 < row["end"] - times[-1] < WINDOW_SECONDS + 1 / frame_rate:
            raise ArtefactError(
                f"utterance {spoken['utt_id']!r}: expected frames of {row['end']:.3f} s as in its "
                f"alignment, found {len(frames)} at {frame_rate:g} per second"
            )
        phones = phones_at([number[name] for name in row["phones"]], row["starts"], times)
        rows.append(np.full(len(frames), i))
        cells.append(phones * n_units + frames)
    ones = np.ones(sum(map(len, cells)))
    shape = (len(rows), len(names) * n_units)
    coordinates = (np.concatenate(rows), np.concatenate(cells))
    return names, sparse.coo_array((ones, coordinates), shape=shape).tocsr()


def _score(
    counts: sparse.csr_array, total: np.ndarray, speech: np.ndarray, seed: int
) -> dict[str, dict[str, Score]]:
    """Every metric over all frames and over those of speech, with its interval."""
    n, kept = counts.shape[0], {"all": np.ones_like(speech), "speech": speech}
    values = {name: measure(total[mask]) for name, mask in kept.items()}
    draws: dict[str, list[tuple[float, float, float]]] = {name: [] for name in kept}
    for rows in resample(n, seed):
        drawn = (np.bincount(rows, minlength=n) @ counts).reshape(total.shape)
        for name, mask in kept.items():
            # A resample of silent recordings only has no frame of speech.
            if drawn[mask].any():
                draws[name].append(measure(drawn[mask]))
    result: dict[str, dict[str, Score]] = {}
    for name in kept:
        columns = zip(METRICS, values[name], np.transpose(draws[name]), strict=True)
        result[name] = {
            metric: score_draws(value, drawn - drawn.mean() + value, n)
            for metric, value, drawn in columns
        }
    return result
