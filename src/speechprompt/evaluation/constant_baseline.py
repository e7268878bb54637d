"""The constant baseline: the single answer that is best whatever is said."""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from rapidfuzz.distance import Levenshtein
from rapidfuzz.process import cdist

from speechprompt.evaluation.metrics import slot_type_f1
from speechprompt.evaluation.scored_splits import BaselineData, ScoreFiles
from speechprompt.evaluation.scores import Metrics
from speechprompt.tasks.sequences import parse_slots

__all__ = ["choose_answer", "choose_constant_baseline"]

CANDIDATES = 4000
COMPARED = 400


def choose_constant_baseline(task: str, data: BaselineData, files: ScoreFiles) -> Metrics:
    """Choose the constant answer and score it; it needs no audio.

    Args:
        task: name of the task.
        data: utterances to choose from and to answer.
        files: files to write.
    """
    answer = choose_answer(data.labels.type, data.train.references, data.dev.references)
    answers = {s: ([answer] * len(rows), [0.0] * len(rows)) for s, rows in data.scored.items()}
    return data.write_scores(files, task, "constant", answers, {"answer": answer})


def choose_answer(task_type: str, train: Sequence[str], dev: Sequence[str], seed: int = 0) -> str:
    """Choose the constant answer.

    Args:
        task_type: ``classification`` takes the most frequent answer of train; ``transcription`` the
            fewest character edits; ``slot_filling`` the highest slot-type F1, then the fewest
            character edits.
        train: references to choose from; for a transcription their single words and the empty
            answer are candidates too.
        dev: references that decide in a generation.
        seed: seed of the draw where there are more candidates than can be compared.
    """
    if task_type == "classification":
        return Counter(train).most_common(1)[0][0]
    generator = np.random.default_rng(seed)
    dev = _draw(list(dev), COMPARED, generator)
    if task_type == "transcription":
        words = dict.fromkeys(word for answer in train for word in answer.split())
        candidates = _draw([*dict.fromkeys(train), *words], CANDIDATES, generator)
        return _nearest(["", *candidates], dev)
    by_types: dict[tuple[str, ...], list[str]] = {}
    for answer in dict.fromkeys(train):
        types = tuple(sorted({kind for kind, _ in parse_slots(answer)[1]}))
        by_types.setdefault(types, []).append(answer)
    best = max(by_types.values(), key=lambda group: sum(slot_type_f1(r, group[0]) for r in dev))
    return _nearest(_draw(best, CANDIDATES, generator), dev)


def _nearest(candidates: Sequence[str], references: Sequence[str]) -> str:
    edits = cdist(candidates, references, scorer=Levenshtein.distance, dtype=np.int32).sum(axis=1)
    return candidates[int(edits.argmin())]


def _draw(answers: list[str], limit: int, generator: np.random.Generator) -> list[str]:
    if len(answers) <= limit:
        return answers
    return [answers[i] for i in sorted(generator.choice(len(answers), limit, replace=False))]
