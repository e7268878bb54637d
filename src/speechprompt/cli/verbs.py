"""All verbs by group, in the order data flows: the function that each runs, and its arguments."""

from collections.abc import Iterator

from speechprompt.cli.verb import Verb

__all__ = ["VERBS"]

ENCODER = "--encoder --encoder-weights"
FEATURES = (
    f"{ENCODER} encoder=encoders:open_encoder features=units.feature_files:FeatureMetadata.of"
)
COMPUTE = "--compute-threads=threads --device"
TRAINING = (
    f"--settings --out=model --curve --seed {COMPUTE} "
    "files=training.job:TrainingFiles.resumable computation=training.job:Computation"
)
SCORES = "--predictions --metrics files=evaluation.scored_splits:ScoreFiles"
BASELINE = (
    "--train --dev --scored --name=task --type=task_type --labels=columns "
    f"data=evaluation.scored_splits:BaselineData.read {SCORES}"
)
# The title of a group. Then for each verb a line with its usage, as Verb describes it, and one with
# its summary. A line that ends with a backslash goes on in the next one.
_TABLE = f"""\
Use:
workflow.run:run tasks --config --cores [--dry-run]
    Run tasks of a set-up: the short way to a call of Snakemake, which is printed.
cli.results:show folders [--json=as_json]
    Show results: score, interval, baseline and verdict, a row for each task.
cli.prediction:predict paths --weights --list=lists [--json=as_json] [--table=as_table] \
    --threshold --window --hop --silence --format=form --pcm {COMPUTE}
    Answer recordings with finished tasks; the exit status is 1 if one cannot be used.
cli.prediction:enrol folders --task --out --predict=recordings --seed {COMPUTE} \
    computation=training.job:Computation
    Train a task on a few recordings of each label, one folder a label, in under a minute.
predict.demo:demo folders --weights --port {COMPUTE}
    Open a page on this machine to speak to finished tasks.
cli.commands:inspect path --rows --utterance --picture --root --predictions [--json=as_json]
    Describe an artefact: schema, metadata, counts, hashes, provenance, first rows.
cli.commands:verify folder
    Check the files of a whole run by the hashes in them; the exit status is 1 if one is damaged.
workflow.configuration:check_config file
    Check a configuration and print it with every default filled in.
Data:
corpora.published.collect:download_corpus --kind@corpora.published.sources:SOURCES --folders \
    --root --out=out_dir --linked
    Download, check and unpack a published corpus, or link to a copy of it.
downloads.hub:download_hub_corpus repository --revision --files --out
    Fetch files of a data set of the Hugging Face hub at one revision, and record their sums.
corpora.synthetic:synthesise_corpus --settings --seed --compute-threads=processes --out=out_dir
    Speak a synthetic corpus with eSpeak NG or other engines.
corpora.debian_recordings:collect_recordings root --out
    Collect recordings of people from unpacked Debian packages, for pre-training.
corpora.prepare:prepare_corpus root --settings --max-rejected --max-repeated --seed --made \
    --compute-threads=threads --out=out_dir
    Check the recordings of a corpus and write its manifests.
corpora.splitting:split table --disjoint --stratify --valid --test --folds --seed --out
    Divide the rows of a table into train, valid and test: by speaker, by label, or in folds.
corpora.prepare:prepare_csv --table --valid-fraction --max-rejected --max-repeated --seed \
    --compute-threads=threads --out=out_dir
    Check own recordings that a table lists, and write their manifests.
units.text_corpus:prepare_units --settings --train --valid --test --table --split --dictionary --out
    Turn lines of ready units and labels into a units file.
corpora.validate:validate_corpus manifests=manifest_dir
    Check manifests against their recordings: schema, ids, splits, files.
corpora.synthetic.alignments:align_phones manifest=manifest_path --settings --seed \
    --compute-threads=processes --out
    Write where the phones of a synthetic corpus are, as eSpeak NG itself says.
units.exporting:export_units units --form --labels --out
    Write the units of a split as text, in the form that another program reads.
cli.commands:compare_units ours reference --shown
    Compare units with others of the same recordings: agreement, error rate, differences.
evaluation.phone_quality:measure_units index=index_path --alignments=alignments_path --encoder \
    --out
    Measure phone purity, cluster purity and PNMI of a codebook's units.
Train:
units.codebook:fit_codebook --sample=sample_path --n-units --seed --out
    Fit a k-means codebook.
pretraining.hubert:pretrain_encoder units --heard --start-from=start \
    targets=pretraining.hubert:pair_targets {TRAINING}
    Pre-train a HuBERT on unlabelled audio.
lm.pretraining:pretrain_unit_lm units=index_paths --start-from=start {TRAINING}
    Pre-train a unit LM on the units of train splits.
prompting.training:train_prompt --name --train --dev=valid --unit-lm --start \
    data=prompting.training:TaskData.read {TRAINING}
    Train a task's prompt on a frozen unit LM.
downstream.training:train_downstream --name --train --dev=valid --type=task_type --labels=columns \
    --balance {ENCODER} data=downstream.recordings:DownstreamData.read {TRAINING}
    Train a downstream model on a learned sum of a frozen encoder's layers.
evaluation.prompt_scores:score_prompt prompt --name=task --unit-lm --scored --baselines --settings \
    {COMPUTE} {SCORES}
    Answer the scored splits with a trained prompt, and score the answers.
evaluation.downstream_scores:score_downstream model --name=task {ENCODER} --scored --baselines \
    {COMPUTE} {SCORES}
    Answer the scored splits with a downstream model, and score the answers.
evaluation.ngram_baseline:fit_ngram_baseline {BASELINE} --balance --utterances --seed
    Score the n-gram baseline of a classification: logistic regression on unit 1-3-grams.
evaluation.acoustic_baselines:fit_acoustic_baseline model --train --dev --scored --name=task \
    --labels=columns --utterances --seed {SCORES}
    Score a baseline of a classification on MFCC: by means and deviations, or by the nearest.
evaluation.constant_baseline:choose_constant_baseline {BASELINE}
    Score the constant baseline: the best single answer, which needs no audio.
cli.commands:pool_scores predictions --against
    Print the main metric over several predictions files together, such as speakers left out.
Models:
downloads.download:download_model model@downloads.assets:MODELS --root --out
    Download and check a published model file, or link to a copy of it.
downloads.hub:download_hub_model repository --revision --out
    Fetch a model from the Hugging Face hub, or from its cache, and check it.
models.importing.hubert:import_hubert checkpoint --sha256 --normalize [--trust] --out
    Import a published HuBERT.
models.importing.wav2vec2:import_wav2vec2 folder --normalize [--trust] --out
    Import a wav2vec 2.0 from a folder of transformers.
models.importing.wav2vec2:import_wavlm folder --normalize [--trust] --out
    Import a WavLM from a folder of transformers.
models.importing.cpc:import_cpc checkpoint --sha256 [--trust] --out
    Import a published CPC encoder.
models.importing.codebook:import_codebook kmeans {FEATURES} --sha256 [--trust] --out
    Import a published k-means codebook.
models.importing.unit_lm:import_unit_lm source --dictionary --codebook --sha256 [--trust] --out \
    n_units=models.importing.unit_lm:count_units \
    codebook_sha256=models.importing.unit_lm:hash_codebook
    Import a unit LM that fairseq trained.
models.shipped:copy_shipped model@models.shipped:SHIPPED --out
    Verify a model that comes with the package, and copy it.
units.codebook:take_codebook codebook {FEATURES} --out
    Check that a codebook belongs to an encoder, and copy it.
lm.artefact:take_unit_lm unit_lm --codebook --out
    Check that a unit LM reads the units of a codebook, and copy it.
models.exporting.encoder:export_encoder encoder --codebook --out
    Write an encoder, and its codebook, as a folder that transformers opens.
models.exporting.unit_lm:export_unit_lm unit_lm --out
    Write a unit LM as a folder that transformers opens.
prompting.start:make_start prompt --unit-lm --units --readers --out
    Make a prompt to start from of one that was trained to tell many words apart.
prompting.export:export_prompt prompt --unit-lm --out
    Write a classification's prompt as an adapter that peft opens.
Internals:
units.extraction:extract_features --manifest=manifest_path {ENCODER} --shard --n-shards --speeds \
    {COMPUTE} --out encoder=encoders:open_encoder
    Encode one shard of a manifest.
units.extraction:sample_frames features=feature_parts --frames=n_frames --seed --out
    Draw frames, evenly over all, for fitting codebooks.
units.quantization:quantize_units --features=features_part --manifest=manifest_path \
    --codebook=codebook_path --deduplicate=dedup --out
    Assign every frame to its nearest centroid and collapse repeats.
units.unit_files:gather_units parts --manifest=manifest_path --corpus --split --train \
    --max-repeated --out
    Check the parts of a split and list them in its index.
corpora.folds:take_fold manifests --fold --folds --seed --valid-fraction --max-repeated \
    --out=out_dir
    Make one fold of a corpus by speaker test, and all other recordings train and valid.
units.unit_files:take_units units=indexes --manifest=manifest_path --out
    Take the units of a manifest's utterances from other splits of the same recordings.
evaluation.pooling:pool_folds folders --name=task {SCORES}
    Score the answers to all folds of a cross-validation together.
evaluation.scores:summarise_seeds seeds=folders --baselines --out
    Score a method over its seeds.
evaluation.scores:finish_task source --out
    Write one file of a finished task: a copy of a result, or the one-line score.
predict.task_folder:describe_model prompt --name=task --unit-lm --codebook {ENCODER} --deduplicate \
    --speeds --corpus --settings --out
    Write model.json, which names the files that a task needs to answer new audio.
report.results_table:write_table metrics --reported --out
    Write the table of results, as Markdown and as Parquet.
report.examples:choose_examples predictions --index --manifest --prompt --unit-lm --settings \
    --examples --seed --out
    Choose utterances to listen to, and gather what the overview shows of them.
report.overview:open_with_overview report --overview
    Let Snakemake's report open with the overview.
report.overview:write_overview results --setup --name --out
    Write the overview: one page of all results, pictures, configuration and versions.
config.reference:write_reference --page --schema
    Write the configuration's reference page and JSON schema.
report.quality_table:compare_quality measured --out --picture
    Compare the quality of codebooks, in a table and a picture.
report.sweep:gather_sweep metrics --points --title --out
    Gather a sweep's scores into one table and draw them.
report.pictures:plot_curve curve --title --out
    Draw the learning curve of a training.
report.pictures:plot_confusion predictions --title --out
    Draw the confusion matrix of a classification.
report.pictures:plot_error_by_length predictions --title --out
    Draw the character error rate against the length of the reference, by method.
predict.robustness:measure_robustness task --manifest --utterances --seed {COMPUTE} --out
    Score a task on recordings with noise, rooms, narrow bands, codecs and other speeds.
report.robustness:plot_robustness measured --title --out
    Draw how a score falls as recordings get worse.
report.pictures:plot_unit_statistics index --title --out
    Count how often units occur and how long they last, and draw it.
report.pictures:plot_codebook codebook --statistics --title --out
    Draw a map of a codebook's centroids.
"""


def _read() -> Iterator[Verb]:
    lines = iter(_TABLE.splitlines())
    for line in lines:
        if line.endswith(":"):
            group = line.removesuffix(":")
        else:
            yield Verb(line, next(lines).strip(), group)


VERBS = {verb.name: verb for verb in _read()}
