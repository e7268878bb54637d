"""Scores of a trained prompt or a fine-tuned LM."""

from collections.abc import Sequence
from pathlib import Path

from speechprompt.config.tasks import DecodingSettings
from speechprompt.evaluation.calibration import Calibration
from speechprompt.evaluation.scored_splits import (
    ScoreFiles,
    check_described,
    prediction_rows,
    read_split,
    write_scores,
)
from speechprompt.evaluation.scores import Metrics
from speechprompt.prompting.calibration import checked_temperature
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.task_file import load_task_model
from speechprompt.runtime.precision import resolve_precision
from speechprompt.runtime.progress import log
from speechprompt.storage.files import content_of, read_json
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensor_metadata
from speechprompt.tasks.labels import restore_labels

__all__ = ["score_prompt"]

UNKNOWN_ANSWERS = (
    "answers are combinations of labels that train does not have; if there are no others, "
    "`decoding: {combinations: known}` of the task rules them out"
)
UNKNOWN_REFERENCES = (
    "references are combinations of labels that train does not have, so that no answer is right; "
    "`decoding: {combinations: any}` of the task allows them"
)


def score_prompt(
    task: str,
    prompt: str | Path,
    unit_lm: str | Path,
    scored: Sequence[str | Path],
    decoding: DecodingSettings,
    files: ScoreFiles,
    *,
    device: str = "cpu",
) -> Metrics:
    """Answer the scored splits with a trained prompt or a fine-tuned LM, and score the answers.

    Args:
        task: name of the task.
        prompt: trained prompt.
        unit_lm: unit LM that it was trained on.
        scored: index.json of each split to score, the main one last.
        decoding: how answers are found.
        files: files to write, and the baselines' predictions.
        device: cpu or cuda.

    Raises:
        ArtefactError: the files do not belong together, or the units are of another codebook.
        CorpusError: a label column is missing, or an utterance leaves no room for an answer.
    """
    described = read_tensor_metadata(prompt)
    with content_of(prompt):
        check_described(described)
        labels = restore_labels(described["answers"])
        hashes = {name: described[f"{name}_sha256"] for name in ("lm", "codebook")}
        details = {"training": described["training"]}
        temperature = checked_temperature(described.get("temperature"))
    codebooks = set()
    for index in scored:
        with content_of(index):
            codebooks.add(read_json(index)["codebook_sha256"])
    dtype = resolve_precision(decoding.precision, device)
    # There is one codebook. Otherwise the unit LM refuses those that are not its own.
    for codebook in codebooks:
        model = load_task_model(prompt, unit_lm, codebook, dtype, device)
    splits, calibration = {}, {}
    for index in scored:
        split, examples = read_split(index, labels)
        found = predict(
            *(model, examples.units, decoding),
            utt_ids=examples.utt_ids,
            renditions=examples.renditions,
        )
        answers = [labels.decode(row) for row in found.labels]
        if model.combinations is not None:
            known = {labels.decode(row) for row in model.combinations}
            given = answers if found.combinations is None else examples.references
            if n_new := sum(one not in known for one in given):
                what = UNKNOWN_ANSWERS if found.combinations is None else UNKNOWN_REFERENCES
                log(f"warning: {task}, {split}: {n_new} of {len(given)} {what}")
        splits[split] = prediction_rows(examples, examples.units, answers, found.scores)
        if found.label_scores is not None and "temperature" in described:
            right = [labels.encode(reference) for reference in examples.references]
            calibration[split] = Calibration.measure(
                found.label_scores,
                found.labels,
                right,
                labels.names,
                temperature,
                labels.allowed,
                found.combinations,
            )
        # Free decoding of a classification may give no answer. It gives units, and the labels of a
        # learnable verbalizer are none.
        if labels.allowed is not None and model.verbalizer.kind != "learnable":
            if not decoding.free:
                found = predict(model, examples.units, DecodingSettings(free=True))
            splits[split]["invalid"] = ~found.valid
    hashes["prompt"] = sha256_file(prompt)
    return write_scores(files, splits, labels, task, described, details, hashes, calibration)
