"""Names of methods, baselines and metrics in tables, in pictures and on the overview page."""

__all__ = ["METHODS", "METRICS", "QUALITIES", "TASKS", "baseline_name"]

# The paper's tasks by their usual names.
TASKS = {
    "ks": "keyword spotting",
    "ic": "intent classification",
    "asr": "speech recognition",
    "sf": "slot filling",
}
METHODS = {
    "prompt": "prompt (PT)",
    "finetune": "whole unit LM (FT-LM)",
    "downstream": "downstream model (FT-DM)",
}
BASELINES = {
    "ngram_logistic_regression": "n-grams of the units",
    "constant": "best constant answer",
    "mfcc_mean": "means of MFCC",
    "mfcc_dtw": "nearest utterance (MFCC, DTW)",
    "shuffled": "answers to other utterances",
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


def baseline_name(baseline: str) -> str:
    """The name of a baseline of metrics.json."""
    return BASELINES.get(baseline, baseline.replace("_", " "))
