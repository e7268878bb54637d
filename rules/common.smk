# Paths, option strings and the configuration they come from; nothing else.

import json
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from speechprompt.config import ExternalCodebook, load_config
from speechprompt.digest import digest
from speechprompt.errors import ConfigError
from speechprompt.options import options_from_block

try:
    CONFIG = load_config(
        config,
        default=Path(workflow.basedir).parent / "config.yaml",
        complete=bool(workflow.overwrite_configfiles),
    )
except ConfigError as error:
    raise WorkflowError(str(error)) from None

THREADS = CONFIG.compute_threads

# What runs a job but changes no result goes by the environment, not by params, so that another
# machine re-runs nothing. Last on the path: where no environment is activated, the command line
# of the package is found beside Snakemake.
shell.prefix(
    f"export SPEECHPROMPT_COMPUTE_THREADS={CONFIG.compute_threads}"
    f" SPEECHPROMPT_DEVICE={CONFIG.device}"
    f' PATH="$PATH:{Path(sys.executable).parent}"; '
)

UNITS = "results/units/{codebook}/{corpus}/{split}"
FEATURES = "results/features/{encoder}/{corpus}/{split}"
PART = "part-{part}-of-{parts}.parquet"
SEED_FOLDER = "results/{task}/{method}/seed-{seed}"


def one_of(names):
    """A wildcard constraint that matches these names only (nothing, where there are none)."""
    return "|".join(sorted(names)) or "(?!)"


def of_kind(kind):
    """Names of the corpora of one kind."""
    return one_of(name for name, corpus in CONFIG.corpora.items() if corpus.kind == kind)


def of_audio():
    """Names of the corpora that hold audio."""
    return one_of(name for name, corpus in CONFIG.corpora.items() if corpus.kind != "units")


wildcard_constraints:
    corpus=one_of(CONFIG.corpora),
    encoder=one_of(CONFIG.encoders),
    codebook=one_of(CONFIG.codebooks),
    lm=one_of(CONFIG.lm),
    task=one_of(CONFIG.tasks),
    split="train|dev|valid|test",
    part=r"\d{5}",
    parts=r"\d{5}",
    seed=r"\d+",
    method="prompt|finetune",


def corpus_options(wildcards):
    return options_from_block(CONFIG.corpora[wildcards.corpus])


def corpus_root(wildcards):
    """The folder that the paths of a corpus's manifests start from."""
    corpus = CONFIG.corpora[wildcards.corpus]
    if corpus.kind == "csv":
        return str(Path(corpus.table).parent)
    if corpus.kind == "fsdd":
        return fsdd_recordings(wildcards)
    return f"resources/corpora/{wildcards.corpus}"


def corpus_table(wildcards):
    return CONFIG.corpora[wildcards.corpus].table


def fsdd_recordings(wildcards):
    root = CONFIG.corpora[wildcards.corpus].root
    return root or f"resources/corpora/{wildcards.corpus}/recordings"


def units_files(wildcards):
    corpus = CONFIG.corpora[wildcards.corpus]
    named = {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}
    named["dictionary"] = CONFIG.codebooks[corpus.codebook].dictionary
    return {key: path for key, path in named.items() if path}


def part_files(folder, corpus):
    """The parts of a split, by the configured number of shards."""
    count = 1 if CONFIG.corpora[corpus].kind == "units" else CONFIG.shards
    return [f"{folder}/part-{part:05d}-of-{count:05d}.parquet" for part in range(count)]


def sampled_features(wildcards):
    corpora = CONFIG.encoders[wildcards.encoder].sample_corpora
    folders = {
        corpus: FEATURES.format(encoder=wildcards.encoder, corpus=corpus, split="train")
        for corpus in corpora
    }
    return [path for corpus, folder in folders.items() for path in part_files(folder, corpus)]


def encoder_settings(wildcards):
    return CONFIG.encoders[wildcards.encoder].model_dump_json(
        exclude={"sample_corpora", "sample_frames"}
    )


def encoder_weights(wildcards):
    weights = getattr(CONFIG.encoders[wildcards.encoder], "weights", None)
    return [weights] if weights else []


def encoder_digest(wildcards):
    return digest("features", f"encoders.{CONFIG.encoders[wildcards.encoder].kind}")


def sample_size(wildcards):
    return CONFIG.encoders[wildcards.encoder].sample_frames


def codebook_sample(wildcards):
    return f"results/features/{CONFIG.codebooks[wildcards.codebook].encoder}/sample.parquet"


def codebook_units(wildcards):
    return CONFIG.codebooks[wildcards.codebook].n_units


def codebook_features(wildcards):
    encoder = CONFIG.codebooks[wildcards.codebook].encoder
    return f"{FEATURES}/{PART}".format(encoder=encoder, **wildcards)


def deduplicate(wildcards):
    return CONFIG.codebooks[wildcards.codebook].deduplicate


def split_parts(wildcards):
    return part_files(UNITS.format(**wildcards), wildcards.corpus)


def split_manifest(wildcards):
    """The manifest of a split; ready units have none."""
    if CONFIG.corpora[wildcards.corpus].kind == "units":
        return []
    return f"results/manifests/{wildcards.corpus}/{wildcards.split}.parquet"


def manifest_option(wildcards, input):
    return f"--manifest {input.manifest}" if input.manifest else ""


def codebook_source(codebook):
    """What the codebook is hashed from."""
    book = CONFIG.codebooks[codebook]
    if isinstance(book, ExternalCodebook):
        return book.dictionary
    return f"results/codebooks/{codebook}.safetensors"


def units_index(codebook, corpus, split):
    return f"{UNITS}/index.json".format(codebook=codebook, corpus=corpus, split=split)


def lm_inputs(wildcards):
    lm = CONFIG.lm[wildcards.lm]
    return {
        "units": [units_index(lm.codebook, corpus, "train") for corpus in lm.corpora],
        "codebook": codebook_source(lm.codebook),
    }


def lm_options(wildcards):
    return options_from_block(CONFIG.lm[wildcards.lm])


def task_index(wildcards, split):
    task = CONFIG.tasks[wildcards.task]
    return units_index(CONFIG.lm[task.lm].codebook, task.corpus, split)


def training_inputs(wildcards):
    task = CONFIG.tasks[wildcards.task]
    return {
        "train": task_index(wildcards, "train"),
        "dev": task_index(wildcards, CONFIG.corpora[task.corpus].dev_split),
        "lm": f"results/lm/{task.lm}/model.safetensors",
    }


def scored_indexes(wildcards):
    task = CONFIG.tasks[wildcards.task]
    return [task_index(wildcards, split) for split in CONFIG.corpora[task.corpus].scored_splits]


def task_lm(wildcards):
    return f"results/lm/{CONFIG.tasks[wildcards.task].lm}/model.safetensors"


def task_options(wildcards):
    return options_from_block(CONFIG.tasks[wildcards.task])


def floor_inputs(wildcards):
    named = training_inputs(wildcards)
    return {"train": named["train"], "dev": named["dev"], "scored": scored_indexes(wildcards)}


def task_labels(wildcards):
    return json.dumps(CONFIG.tasks[wildcards.task].labels)


def task_balance(wildcards):
    return CONFIG.tasks[wildcards.task].balance


def published_folders(wildcards):
    """The configured method's folders, one per seed, the first seed first."""
    method = CONFIG.tasks[wildcards.task].method
    return [
        SEED_FOLDER.format(task=wildcards.task, method=method, seed=seed) for seed in CONFIG.seeds
    ]


def published_files(wildcards):
    folders = published_folders(wildcards)
    names = {
        "prompts": "prompt.safetensors",
        "predictions": "predictions.parquet",
        "metrics": "metrics.json",
        "curves": "learning_curve.png",
        "matrices": "confusion_matrix.png",
    }
    return {key: [f"{folder}/{name}" for folder in folders] for key, name in names.items()}
