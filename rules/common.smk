# Paths, option strings and the configuration they come from; nothing else.

import json
import shlex
from pathlib import Path

from snakemake.exceptions import WorkflowError

from speechprompt.workflow.configuration import load_config
from speechprompt.config.corpora import PublishedCorpus
from speechprompt.config.models import ExternalCodebook
from speechprompt.errors import ConfigError
from speechprompt.config.values import block_to_json
from speechprompt.workflow.digests import Digests

try:
    CONFIG = load_config(
        config,
        default=Path(workflow.basedir).parent / "config.yaml",
        complete=bool(workflow.overwrite_configfiles),
    )
except ConfigError as error:
    raise WorkflowError(str(error)) from None

THREADS = CONFIG.compute_threads
LM_THREADS = CONFIG.lm_threads or THREADS

# The digest of the code behind a rule, by its verb.
code_of = Digests(CONFIG).of

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


def of_type(*types):
    """Names of the tasks of some types."""
    return one_of(name for name, task in CONFIG.tasks.items() if task.type in types)


def of_published():
    """Names of the corpora that are downloaded, or a copy of what would be."""
    return one_of(
        name for name, corpus in CONFIG.corpora.items() if isinstance(corpus, PublishedCorpus)
    )


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
    method="prompt|finetune|downstream",


def corpus_settings(wildcards):
    """A corpus's block; where a published one is copied from does not matter once it is there."""
    return block_to_json(CONFIG.corpora[wildcards.corpus], {"root"})


def root_of(name):
    """The folder that the paths of a corpus's manifests start from."""
    corpus = CONFIG.corpora[name]
    if corpus.kind == "csv":
        return str(Path(corpus.table).parent)
    if corpus.kind == "fsdd":
        return f"resources/corpora/{name}/recordings"
    return f"resources/corpora/{name}"


def corpus_root(wildcards):
    return root_of(wildcards.corpus)


def corpus_listing(wildcards):
    """The file that lists a corpus's recordings, or says that they are there."""
    corpus = CONFIG.corpora[wildcards.corpus]
    if corpus.kind == "csv":
        return corpus.table
    listing = "corpus.csv" if corpus.kind == "synthetic" else "corpus.json"
    return f"resources/corpora/{wildcards.corpus}/{listing}"


def download_options(wildcards):
    corpus = CONFIG.corpora[wildcards.corpus]
    words = ["--kind", corpus.kind]
    words += ["--root", corpus.root] if corpus.root else []
    words += ["--folders", *corpus.folders] if corpus.folders else []
    return shlex.join(words)


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


def measured_codebooks():
    """The codebooks whose units are measured, in the configured order."""
    return CONFIG.quality.codebooks if CONFIG.quality else []


def quality_inputs(wildcards):
    corpus, split = CONFIG.quality.corpus, CONFIG.quality.split
    return {
        "index": units_index(wildcards.codebook, corpus, split),
        "alignments": f"results/alignments/{corpus}/{split}.parquet",
    }


def lm_inputs(wildcards):
    lm = CONFIG.lm[wildcards.lm]
    return {
        "units": [units_index(lm.codebook, corpus, "train") for corpus in lm.corpora],
        "codebook": codebook_source(lm.codebook),
    }


def lm_codebook(wildcards):
    return codebook_source(CONFIG.lm[wildcards.lm].codebook)


def lm_settings(wildcards):
    return block_to_json(CONFIG.lm[wildcards.lm])


def index_of(task, split):
    return units_index(CONFIG.lm[task.lm].codebook, task.corpus, split)


def lm_file(lm):
    return f"results/lm/{lm}/model.safetensors"


def inputs_of(task):
    """What a task's training reads."""
    return {
        "train": index_of(task, "train"),
        "dev": index_of(task, CONFIG.corpora[task.corpus].dev_split),
        "lm": lm_file(task.lm),
    }


def scored_of(task):
    return [index_of(task, split) for split in CONFIG.corpora[task.corpus].scored_splits]


def training_inputs(wildcards):
    return inputs_of(CONFIG.tasks[wildcards.task])


def scored_indexes(wildcards):
    return scored_of(CONFIG.tasks[wildcards.task])


def task_lm(wildcards):
    return lm_file(CONFIG.tasks[wildcards.task].lm)


def training_settings(task, method):
    left_out = {"compare", "reported", "finetuning", "downstream", "decoding"}
    return block_to_json(task.trained_by(method), left_out)


def task_settings(wildcards):
    return training_settings(CONFIG.tasks[wildcards.task], wildcards.method)


def decoding_settings(wildcards):
    return block_to_json(CONFIG.tasks[wildcards.task].decoding)


def baseline_inputs(wildcards):
    named = training_inputs(wildcards)
    return {"train": named["train"], "dev": named["dev"], "scored": scored_indexes(wildcards)}


def task_type(wildcards):
    return CONFIG.tasks[wildcards.task].type


def task_labels(wildcards):
    return json.dumps(CONFIG.tasks[wildcards.task].labels)


def task_balance(wildcards):
    return CONFIG.tasks[wildcards.task].balance
