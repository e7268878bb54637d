"""How a task's score falls as its recordings get worse."""

from pathlib import Path

import numpy as np
import pyarrow as pa

from speechprompt.audio.degradation import CONDITIONS
from speechprompt.corpora.manifest import read_root
from speechprompt.errors import CorpusError
from speechprompt.evaluation.metrics import MAIN_METRIC, count_errors, metrics_of, score
from speechprompt.predict.predictor import Predictor
from speechprompt.runtime.progress import progress
from speechprompt.storage.parquet import read_parquet, write_parquet
from speechprompt.tasks.examples import draw_few
from speechprompt.units.extraction import read_waveform

__all__ = ["measure_robustness"]

BLOCK = 64


def measure_robustness(
    task: str | Path,
    manifest: str | Path,
    out: str | Path,
    *,
    utterances: int | None = None,
    seed: int = 0,
    device: str = "cpu",
) -> pa.Table:
    """Score a task on recordings that are made worse, in steps and one way at a time.

    The ways are noise, rooms, bandwidth, level, clipping, codecs and speed
    (:data:`~speechprompt.audio.degradation.CONDITIONS`). An utterance has the same noise and the
    same echoes at every step. One that has no answer counts as an empty answer.

    Args:
        task: folder of a finished task, such as ``results/ks``.
        manifest: manifest of a split with the task's label columns, such as its test split.
        out: table to write: a row for each step with ``kind``, ``step``, ``metric``, the
            ``value`` as a fraction with its 95 % interval from ``low`` to ``high``, the number of
            utterances ``n``, and how many have no answer (``unanswered``).
        utterances: number of utterances to draw; all by default.
        seed: seed of the draw and of noise and echoes.
        device: cpu, cuda or auto.

    Raises:
        ArtefactError: a file is missing or damaged.
        CorpusError: a recording cannot be read, or the split has fewer utterances.
    """
    predictor = Predictor.load(task, device=device)
    labels = predictor.tasks[0].labels
    table = read_parquet(manifest)
    if not len(table):
        raise CorpusError(f"{manifest}: expected utterances, found none")
    references = labels.references(table, str(manifest))
    rows = list(range(len(table)))
    if utterances is not None:
        if not 1 <= utterances <= len(rows):
            raise CorpusError(
                f"utterances: expected 1 to the {len(rows)} of {manifest}, found {utterances}"
            )
        rows = draw_few(references, utterances, seed)
    root, paths = read_root(manifest), table["path"].to_pylist()
    answers: list[list[str]] = [[] for _ in CONDITIONS]
    unanswered = np.zeros(len(CONDITIONS), dtype=int)
    blocks = [rows[i : i + BLOCK] for i in range(0, len(rows), BLOCK)]
    jobs = [(block, number) for block in blocks for number in range(len(CONDITIONS))]
    waveforms: list[np.ndarray] = []
    for block, number in progress(jobs, f"robustness of {Path(task).name}", unit="block"):
        if number == 0:
            waveforms = [read_waveform(root / paths[row]) for row in block]
        worse = [
            CONDITIONS[number].apply(waveform, np.random.default_rng((seed, row)))
            for row, waveform in zip(block, waveforms, strict=True)
        ]
        found = predictor.answer([paths[row] for row in block], worse)
        answers[number] += [answer.answer or "" for answer in found]
        unanswered[number] += sum(answer.error is not None for answer in found)
    wanted = [references[row] for row in rows]
    name = MAIN_METRIC[labels.type]
    measured = []
    for condition, given, missing in zip(CONDITIONS, answers, unanswered, strict=True):
        errors = count_errors(labels.type, labels.columns, wanted, given)
        columns = {column: np.array(counts) for column, counts in errors.items()}
        result = score(metrics_of(list(columns))[name], columns)
        measured.append(
            {
                "kind": condition.kind,
                "step": condition.step,
                "metric": name,
                **result.columns(),
                "n": result.n,
                "unanswered": int(missing),
            }
        )
    table = pa.Table.from_pylist(measured)
    write_parquet(out, table)
    return table
