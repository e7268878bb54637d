"""The verbs, in the order data flows: which function each runs, and what is typed after it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from speechprompt.cli.verb import Verb

__all__ = ["VERBS"]

ENCODER = "--encoder --encoder-weights"
COMPUTE = "--compute-threads=threads --device"
TRAINING = f"--settings --out=model --curve --seed {COMPUTE}"
TRAINING_MADE = {
    "files": "training.job:TrainingFiles.resumable",
    "computation": "training.job:Computation",
}
BASELINE = "--train --dev --scored --name=task --type=task_type --labels=columns"
SCORE_FILES = "--predictions --metrics"
SCORE_MADE = {"files": "evaluation.scored_splits:ScoreFiles"}
BASELINE_MADE = {"data": "evaluation.scored_splits:BaselineData.read", **SCORE_MADE}
FEATURES_MADE = {
    "encoder": "encoders:open_encoder",
    "features": "units.feature_files:FeatureMetadata.of",
}


def has_network(values: Mapping[str, Any]) -> bool:
    """Whether an encoder is a neural network; the others are not worth an accelerator."""
    return "weights" in values["encoder"]


_VERBS = (
    Verb(
        "workflow.configuration:check_config",
        "Check a configuration and print it with every default filled in.",
        "file",
    ),
    Verb(
        "config.reference:write_reference",
        "Write the configuration's reference page and JSON schema.",
        "--page --schema",
    ),
    Verb(
        "corpora.published.collect:download_corpus",
        "Download, check and unpack a published corpus, or link to a copy of it.",
        "--kind --folders --root --out=out_dir",
    ),
    Verb(
        "corpora.synthetic:synthesise_corpus",
        "Speak a synthetic corpus with eSpeak NG.",
        "--settings --seed --compute-threads=processes --out=out_dir",
    ),
    Verb(
        "corpora.prepare:prepare_corpus",
        "Check the recordings of a corpus and write its manifests.",
        "root --settings --max-rejected --seed --compute-threads=threads --out=out_dir",
    ),
    Verb(
        "corpora.prepare:prepare_csv",
        "Check own recordings that a table lists, and write their manifests.",
        "--table --valid-fraction --max-rejected --seed --compute-threads=threads --out=out_dir",
    ),
    Verb(
        "corpora.validate:validate_corpus",
        "Check manifests against their recordings: schema, ids, splits, files.",
        "manifests=manifest_dir",
    ),
    Verb(
        "corpora.synthetic.alignments:align_phones",
        "Write where the phones of a synthetic corpus are, as eSpeak NG itself says.",
        "manifest=manifest_path --settings --seed --compute-threads=processes --out",
    ),
    Verb(
        "units.extraction:extract_features",
        "Encode one shard of a manifest.",
        f"--manifest=manifest_path {ENCODER} --shard --n-shards {COMPUTE} --out",
        made={"encoder": "encoders:open_encoder"},
        accelerated=has_network,
    ),
    Verb(
        "units.extraction:sample_frames",
        "Draw frames, evenly over all, for fitting codebooks.",
        "features=feature_parts --frames=n_frames --seed --out",
    ),
    Verb(
        "units.codebook:fit_codebook",
        "Fit a k-means codebook.",
        "--sample=sample_path --n-units --seed --out",
    ),
    Verb(
        "units.quantization:quantize_units",
        "Assign every frame to its nearest centroid and collapse repeats.",
        "--features=features_part --manifest=manifest_path --codebook=codebook_path "
        "--deduplicate=dedup --out",
    ),
    Verb(
        "units.text_corpus:prepare_units",
        "Turn lines of ready units and labels into a units file.",
        "--settings --train --valid --test --split --dictionary --out",
    ),
    Verb(
        "units.unit_files:gather_units",
        "Check the parts of a split and list them in its index.",
        "parts --manifest=manifest_path --corpus --split --out",
    ),
    Verb(
        "cli.commands:compare_units",
        "Compare units with others of the same recordings: agreement, error rate, differences.",
        "ours reference --shown",
    ),
    Verb(
        "evaluation.phone_quality:measure_units",
        "Measure phone purity, cluster purity and PNMI of a codebook's units.",
        "index=index_path --alignments=alignments_path --encoder --out",
    ),
    Verb(
        "downloads.download:download_model",
        "Download and check a published model file, or link to a copy of it.",
        "model --root --out",
    ),
    Verb(
        "models.importing.hubert:import_hubert",
        "Import a published HuBERT.",
        "checkpoint --sha256 [--trust] --out",
    ),
    Verb(
        "models.importing.cpc:import_cpc",
        "Import a published CPC encoder.",
        "checkpoint --sha256 [--trust] --out",
    ),
    Verb(
        "models.importing.codebook:import_codebook",
        "Import a published k-means codebook.",
        f"kmeans {ENCODER} --sha256 [--trust] --out",
        made=FEATURES_MADE,
    ),
    Verb(
        "models.importing.unit_lm:import_unit_lm",
        "Import a unit LM that fairseq trained.",
        "source --dictionary --codebook --sha256 [--trust] --out",
        made={
            "n_units": "models.importing.unit_lm:count_units",
            "codebook_sha256": "models.importing.unit_lm:hash_codebook",
        },
    ),
    Verb(
        "models.shipped:copy_shipped",
        "Verify a model that comes with the package, and copy it.",
        "model --out",
    ),
    Verb(
        "units.codebook:take_codebook",
        "Check that a codebook belongs to an encoder, and copy it.",
        f"codebook {ENCODER} --out",
        made=FEATURES_MADE,
    ),
    Verb(
        "lm.artefact:take_unit_lm",
        "Check that a unit LM reads the units of a codebook, and copy it.",
        "unit_lm --codebook --out",
    ),
    Verb(
        "pretraining.hubert:pretrain_encoder",
        "Pre-train a HuBERT on unlabelled audio.",
        f"units --heard --start-from=start {TRAINING}",
        made={"targets": "pretraining.hubert:pair_targets", **TRAINING_MADE},
        accelerated=True,
    ),
    Verb(
        "lm.pretraining:pretrain_unit_lm",
        "Pre-train a unit LM on the units of train splits.",
        f"units=index_paths {TRAINING}",
        made=TRAINING_MADE,
        accelerated=True,
    ),
    Verb(
        "prompting.training:train_prompt",
        "Train a task's prompt on a frozen unit LM.",
        f"--name --train --dev=valid --unit-lm {TRAINING}",
        made={"data": "prompting.training:TaskData.read", **TRAINING_MADE},
        accelerated=True,
    ),
    Verb(
        "downstream.training:train_downstream",
        "Train a downstream model on a learned sum of a frozen encoder's layers.",
        f"--name --train --dev=valid --type=task_type --labels=columns --balance {ENCODER} "
        f"{TRAINING}",
        made={"data": "downstream.training:DownstreamData.read", **TRAINING_MADE},
        accelerated=True,
    ),
    Verb(
        "evaluation.ngram_baseline:fit_ngram_baseline",
        "Score the n-gram baseline of a classification: logistic regression on unit 1-3-grams.",
        f"{BASELINE} --balance {SCORE_FILES}",
        made=BASELINE_MADE,
    ),
    Verb(
        "evaluation.constant_baseline:choose_constant_baseline",
        "Score the constant baseline of a generation: the best single answer, which needs no "
        "audio.",
        f"{BASELINE} {SCORE_FILES}",
        made=BASELINE_MADE,
    ),
    Verb(
        "evaluation.prompt_scores:score_prompt",
        "Answer the scored splits with a trained prompt and measure.",
        f"prompt --name=task --unit-lm --scored --baseline --settings {COMPUTE} {SCORE_FILES}",
        made=SCORE_MADE,
        accelerated=True,
    ),
    Verb(
        "evaluation.downstream_scores:score_downstream",
        "Answer the scored splits with a downstream model and measure.",
        f"model --name=task {ENCODER} --scored --baseline {COMPUTE} {SCORE_FILES}",
        made=SCORE_MADE,
        accelerated=True,
    ),
    Verb(
        "evaluation.summaries:summarise_seeds",
        "Score a method over its seeds.",
        "seeds=folders --baseline --out",
    ),
    Verb(
        "evaluation.summaries:finish_task",
        "Write one file of a finished task: a copy of a result, or the one-line score.",
        "source --out",
    ),
    Verb(
        "cli.commands:pool_scores",
        "Print the main metric over several predictions files together, such as speakers left out.",
        "predictions --against",
    ),
    Verb(
        "report.results_table:write_table",
        "Write the table of results, as Markdown and beside it as Parquet.",
        "metrics --reported --out",
    ),
    Verb(
        "report.quality_table:compare_quality",
        "Set the quality of codebooks side by side, as a table and a picture.",
        "measured --out --picture",
    ),
    Verb(
        "report.pictures:plot_curve",
        "Draw the learning curve of a training.",
        "curve --title --out",
    ),
    Verb(
        "report.pictures:plot_confusion",
        "Draw the confusion matrix of a classification.",
        "predictions --title --out",
    ),
    Verb(
        "report.pictures:plot_error_by_length",
        "Draw the character error rate against the length of the reference, by method.",
        "predictions --title --out",
    ),
    Verb(
        "report.pictures:plot_unit_statistics",
        "Count how often units occur and how long they last, and draw it.",
        "index --title --out",
    ),
    Verb(
        "report.pictures:plot_codebook",
        "Draw a map of a codebook's centroids.",
        "codebook --statistics --title --out",
    ),
    Verb(
        "report.sweep:gather_sweep",
        "Gather a sweep's scores into one table and draw them.",
        "metrics --points --title --out",
    ),
    Verb(
        "report.overview:write_overview",
        "Write the overview: one page of all results, pictures, configuration and versions.",
        "results --setup --out",
    ),
    Verb(
        "predict.task_folder:describe_model",
        "Write down what a task's prompt needs to answer new audio, and where it is.",
        f"prompt --name=task --unit-lm --codebook {ENCODER} --deduplicate --settings --out",
    ),
    Verb(
        "cli.commands:predict",
        "Answer recordings with finished tasks; the exit status is 1 if one could not be used.",
        f"paths --weights --list=lists [--json=as_json] [--table=as_table] {COMPUTE}",
        accelerated=True,
        returns_status=True,
    ),
    Verb(
        "cli.commands:inspect",
        "Say what an artefact is: schema, metadata, counts, hashes, provenance, first rows.",
        "path --rows --utterance --picture --root --predictions [--json=as_json]",
    ),
)
VERBS = {verb.name: verb for verb in _VERBS}
