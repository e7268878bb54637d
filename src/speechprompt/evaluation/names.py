"""Names of methods, baselines and metrics for readers."""

from typing import NamedTuple

__all__ = ["METRICS", "QUALITIES", "TASKS", "name_in_text", "short_name"]


class Name(NamedTuple):
    """Names of a method or a baseline.

    Attributes:
        short: in tables, in pictures and on the overview page.
        in_text: within a sentence.
    """

    short: str
    in_text: str


# The paper's tasks by their usual names.
TASKS = {
    "ks": "keyword spotting",
    "ic": "intent classification",
    "asr": "speech recognition",
    "sf": "slot filling",
}
# Methods, and baselines that they are compared with, by their names in metrics.json.
NAMES = {
    "prompt": Name("prompt (PT)", "the prompt"),
    "finetune": Name("whole unit LM (FT-LM)", "the fine-tuned unit LM"),
    "downstream": Name("downstream model (FT-DM)", "the downstream model"),
    "ngram_logistic_regression": Name("n-grams of the units", "the n-gram baseline"),
    "constant": Name("best constant answer", "the best constant answer"),
    "mfcc_mean": Name("means of MFCC", "the logistic regression on means of MFCC"),
    "mfcc_dtw": Name("nearest utterance (MFCC, DTW)", "the nearest utterance of train by MFCC"),
    "shuffled": Name("answers to other utterances", "its own answers to other utterances"),
}
METRICS = {
    "acc": "accuracy",
    "macro_f1": "macro-F1",
    "wer": "word error rate",
    "cer": "character error rate",
    "f1": "slot-type F1",
    "slot_value_cer": "slot-value CER",
}
QUALITIES = {"phone_purity": "phone purity", "cluster_purity": "cluster purity", "pnmi": "PNMI"}


def short_name(method: str) -> str:
    """The short name of a method or baseline of metrics.json."""
    return _names(method).short


def name_in_text(method: str) -> str:
    """The name of a method or baseline of metrics.json within a sentence."""
    return _names(method).in_text


def _names(method: str) -> Name:
    plain = method.replace("_", " ")
    return NAMES.get(method, Name(plain, plain))
