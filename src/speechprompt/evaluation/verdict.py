"""What the comparison with a baseline says, in words, and what can be done about it."""

from collections.abc import Mapping, Set
from typing import Self

from pydantic import BaseModel, ConfigDict, Field

from speechprompt.errors import some_of
from speechprompt.evaluation.metrics import Score, in_percent
from speechprompt.evaluation.names import name_in_text

__all__ = ["SharedSpeakers", "compare_in_words", "overlap_in_words", "standing"]

OVERFITTING = "If the learning curve is far better on train than on valid, it overfits: "
NO_ENCODER = (
    "Features without encoder and units tell more than the prompt gets out of the units: take more "
    "recordings, or an encoder that knows such voices. Until then the baseline is the better model."
)
# What to do where a prompt is worse than a baseline.
ADVICE = {
    "mfcc_mean": NO_ENCODER,
    "mfcc_dtw": NO_ENCODER,
    "ngram_logistic_regression": "The units tell more than the prompt gets out of them. "
    f"{OVERFITTING}take more recordings, fewer rows (prompt.length) or training.unit_dropout. "
    "Otherwise take more epochs, more rows, `verbalizer: learnable` or another unit LM. Until then "
    "the n-grams are the better model.",
    "constant": "The prompt has not learnt to use the audio. Look at an utterance and its label "
    "with `speechprompt inspect`. If the loss on train still falls, take more epochs or a higher "
    "training.lr; if it does not, take more rows (prompt.length) or another unit LM.",
    "shuffled": "The answers hardly depend on the audio. Take more epochs, `verbalizer: aligned`, "
    "or a unit LM that was pre-trained with repeat_share.",
}
# What to do for the other methods, whatever the baseline.
OTHERWISE = f"{OVERFITTING}take more recordings or fewer epochs. Otherwise take more epochs."


class SharedSpeakers(BaseModel):
    """Speakers of a scored split that train has too."""

    model_config = ConfigDict(extra="forbid")

    n_shared: int = Field(ge=0, lt=2**63)
    n_speakers: int = Field(ge=0, lt=2**63)
    names: str

    @classmethod
    def between(cls, train: Set[str], scored: Set[str]) -> Self:
        """Compare the speakers of train and of a scored split."""
        shared = sorted(train & scored)
        return cls(n_shared=len(shared), n_speakers=len(scored), names=some_of(shared, 3))


def overlap_in_words(
    split: str,
    main: str,
    scores: Mapping[str, Score],
    in_train: int,
    speakers: SharedSpeakers | None,
) -> list[str]:
    """Say what a scored split has in common with train: utterances, and speakers.

    Args:
        split: name of the split.
        main: name of the main metric.
        scores: scores of the split.
        in_train: number of its utterances whose units occur in train.
        speakers: its speakers that train has too.

    Returns:
        Sentences; none without anything in common.
    """
    found = []
    if in_train:
        text = f"{in_train} of {scores[main].n} utterances of {split} have units of one of train"
        novel = scores.get(f"{main}_novel")
        found.append(
            f"{text}: {main} is {100 * scores[main].value:.2f} %, and "
            f"{in_percent(novel.value, novel.interval, ' %')} on the {novel.n} novel ones."
            if novel
            else f"{text}; no utterance is novel."
        )
    if speakers:
        found.append(
            f"{speakers.n_shared} of {speakers.n_speakers} speakers of {split} are in train too "
            f"({speakers.names})."
        )
    return found


def standing(gain: Score) -> str:
    """Where a result stands by the interval of its paired gain: above, level with or below."""
    low, high = gain.interval
    return "above" if low > 0 else "below" if high < 0 else "level with"


def compare_in_words(
    method: str, baseline: str, ours: Score, theirs: Score, gain: Score, figures: bool = True
) -> str:
    """Say that a result is worse than a baseline, and what to do; or that the two do not differ.

    Args:
        method: name of the method.
        baseline: name of the baseline.
        ours: score of the method.
        theirs: score of the baseline.
        gain: paired gain of the method over the baseline.
        figures: whether to give scores and gain, too.

    Returns:
        Sentences; empty if the interval of the gain is above 0.
    """
    low, high = gain.interval
    if low > 0:
        return ""
    name = name_in_text(method)
    name = name[0].upper() + name[1:]
    other = name_in_text(baseline)
    found = (
        f": {100 * ours.value:.2f} % and {100 * theirs.value:.2f} %, "
        f"gain {in_percent(gain.value, gain.interval)}"
    )
    found = found if figures else ""
    if high >= 0:
        return f"{name} does not differ from {other}, as far as {gain.n} utterances tell{found}."
    advice = ADVICE.get(baseline, OTHERWISE) if method == "prompt" else OTHERWISE
    return f"{name} is worse than {other}{found}. {advice}"
