"""Character error rate by length of the reference, as in section 4.3 of the paper."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from speechprompt.errors import ArtefactError
from speechprompt.evaluation.metrics import metrics_of, score
from speechprompt.evaluation.predictions import about_predictions, counts, read_predictions

__all__ = ["error_by_length"]

BINS = 8


def error_by_length(predictions: Sequence[str | Path]) -> pa.Table:
    """Compute the character error rate by length of the reference, on the last scored split.

    The lengths are divided into at most eight ranges with about the same number of utterances.

    Args:
        predictions: predictions files of one task; files of the same method are its seeds.

    Returns:
        One row per method and range: ``method``, ``shortest``, ``longest`` and ``mean_length`` in
        characters, the number of utterances ``n``, and ``cer`` as a fraction with its 95 % interval
        from ``cer_low`` to ``cer_high``.

    Raises:
        ArtefactError: the predictions are labels and not text.
    """
    by_method: dict[str, list[pa.Table]] = {}
    for path in predictions:
        table = read_predictions(path)
        if "characters" not in table.column_names:
            raise ArtefactError(f"{path}: expected predictions of a generated text, found labels")
        by_method.setdefault(about_predictions(table)["method"], []).append(table)
    rows = []
    for method, tables in by_method.items():
        lengths = tables[0]["characters"].to_numpy()
        edges = np.unique(np.quantile(lengths, np.linspace(0, 1, BINS + 1)[1:-1], method="lower"))
        place = np.searchsorted(edges, lengths, side="left")
        metric = metrics_of(tables[0].column_names)["cer"]
        for number in np.unique(place):
            inside = place == number
            found = score(metric, counts(tables, inside))
            rows.append(
                {
                    "method": method,
                    "shortest": int(lengths[inside].min()),
                    "longest": int(lengths[inside].max()),
                    "mean_length": float(lengths[inside].mean()),
                    "n": found.n,
                    **found.columns("cer", "cer_"),
                }
            )
    return pa.Table.from_pylist(rows)
