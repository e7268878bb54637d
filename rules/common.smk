# Paths, option strings and the configuration they come from; nothing else.

import json
import shlex
from pathlib import Path
from typing import get_args

import pandas as pd
from snakemake.exceptions import WorkflowError
from snakemake.utils import Paramspace

from speechprompt.config import load_config
from speechprompt.config.corpora import PublishedCorpus
from speechprompt.config.models import ExternalCodebook
from speechprompt.config.sweep import SweepPoint
from speechprompt.config.tasks import VerbalizerKind
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
LM_THREADS = CONFIG.lm_threads or THREADS

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


def published_by(*methods, type):
    """Names of the tasks of a type whose published method is one of these."""
    tasks = CONFIG.tasks.items()
    return one_of(n for n, task in tasks if task.type == type and task.method in methods)


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
    verbalizer=one_of(get_args(VerbalizerKind)),
    length=r"\d+",
    utterances=r"\d+|all",


def corpus_options(wildcards):
    return options_from_block(CONFIG.corpora[wildcards.corpus])


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


def corpus_table(wildcards):
    return CONFIG.corpora[wildcards.corpus].table


def download_options(wildcards):
    corpus = CONFIG.corpora[wildcards.corpus]
    words = ["--kind", corpus.kind]
    words += ["--root", corpus.root] if corpus.root else []
    words += ["--folders", *corpus.folders] if corpus.folders else []
    return shlex.join(words)


def prepare_verb(wildcards):
    return f"prepare-{CONFIG.corpora[wildcards.corpus].kind}".replace("_", "-")


def prepare_options(wildcards):
    """Where the recordings are is the download's affair."""
    return options_from_block(CONFIG.corpora[wildcards.corpus], frozenset({"root"}))


def prepare_digest(wildcards):
    return digest(f"corpora.{CONFIG.corpora[wildcards.corpus].kind}")


def synthetic_digest(wildcards):
    task = CONFIG.corpora[wildcards.corpus].task
    return digest("corpora.synthetic", f"corpora.synthetic.{task}")


def alignments_digest(wildcards):
    task = CONFIG.corpora[wildcards.corpus].task
    return digest("corpora.synthetic.alignments", f"corpora.synthetic.{task}")


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


def training_options(task, method):
    left_out = {"compare", "published", "finetuning", "downstream", "decoding"}
    return options_from_block(task.trained_by(method), exclude=left_out)


def task_options(wildcards):
    return training_options(CONFIG.tasks[wildcards.task], wildcards.method)


def decoding_options(wildcards):
    return options_from_block(CONFIG.tasks[wildcards.task].decoding)


def floor_inputs(wildcards):
    named = training_inputs(wildcards)
    return {"train": named["train"], "dev": named["dev"], "scored": scored_indexes(wildcards)}


def task_type(wildcards):
    return CONFIG.tasks[wildcards.task].type


def task_labels(wildcards):
    return json.dumps(CONFIG.tasks[wildcards.task].labels)


def task_balance(wildcards):
    return CONFIG.tasks[wildcards.task].balance


def folders_of(task, method):
    """A method's folders, one per seed, the first seed first."""
    return [SEED_FOLDER.format(task=task, method=method, seed=seed) for seed in CONFIG.seeds]


def seed_folders(wildcards):
    return folders_of(wildcards.task, wildcards.method)


def method_predictions(wildcards):
    return [f"{folder}/predictions.parquet" for folder in seed_folders(wildcards)]


def method_metrics(wildcards):
    return [f"{folder}/metrics.json" for folder in seed_folders(wildcards)]


def compared_predictions(wildcards):
    methods = CONFIG.tasks[wildcards.task].methods
    folders = [folder for method in methods for folder in folders_of(wildcards.task, method)]
    return [f"{folder}/predictions.parquet" for folder in folders]


def published_folder(wildcards):
    return folders_of(wildcards.task, CONFIG.tasks[wildcards.task].method)[0]


def published_files(wildcards):
    """What the configured method publishes, and the pictures that belong to it."""
    task = CONFIG.tasks[wildcards.task]
    folders = folders_of(wildcards.task, task.method)
    pictures = ["learning_curve.png"]
    if task.type == "classification":
        pictures.append("confusion_matrix.png")
    trained = "model" if task.method == "downstream" else "prompt"
    # What `speechprompt predict` can use; other methods publish no model.json.
    model = {"model": f"results/{wildcards.task}/model.json"}
    return {
        **(model if task.method in ("prompt", "finetune") else {}),
        "trained": f"{folders[0]}/{trained}.safetensors",
        "predictions": f"{folders[0]}/predictions.parquet",
        "summary": f"results/{wildcards.task}/{task.method}/metrics.json",
        "pictures": [f"{folder}/{picture}" for folder in folders for picture in pictures],
    }


def all_summaries():
    """metrics.json of every task and method."""
    return [
        f"results/{name}/{method}/metrics.json"
        for name, task in CONFIG.tasks.items()
        for method in task.methods
    ]


def read_units():
    """Codebook and corpus of what the tasks read."""
    pairs = ((CONFIG.lm[t.lm].codebook, t.corpus) for t in CONFIG.tasks.values())
    return list(dict.fromkeys(pairs))


def mapped_codebooks():
    """Those of them that have centroids."""
    books = dict.fromkeys(codebook for codebook, _ in read_units())
    return [n for n in books if not isinstance(CONFIG.codebooks[n], ExternalCodebook)]


def codebook_statistics(wildcards):
    corpus = next(c for codebook, c in read_units() if codebook == wildcards.codebook)
    return f"results/units/{wildcards.codebook}/{corpus}/statistics.parquet"


def overview_pictures():
    """What the overview shows of every task, and of the units that tasks read."""
    pictures = [f"results/codebooks/{codebook}.png" for codebook in mapped_codebooks()]
    pictures += [f"results/units/{b}/{c}/statistics.png" for b, c in read_units()]
    pictures += ["results/quality/quality.png"] if CONFIG.quality else []
    for name, task in CONFIG.tasks.items():
        classification = task.type == "classification"
        shown = ["learning_curve", "confusion_matrix"][: 1 + classification]
        folders = [folders_of(name, method)[0] for method in task.methods]
        pictures += [f"{folder}/{picture}.png" for folder in folders for picture in shown]
        pictures += [] if classification else [f"results/{name}/error_by_length.png"]
    return pictures


def shown_setup():
    """The configuration, less what depends on the machine, as JSON."""
    left_out = {"device", "compute_threads", "lm_threads"}
    return json.dumps(CONFIG.model_dump(mode="json", exclude=left_out))


def sweep_space():
    """Settings of the sweep's trainings, as Snakemake's parameter space."""
    return Paramspace(pd.DataFrame(CONFIG.sweep_points(), columns=SweepPoint._fields))


SWEEP = sweep_space()
SWEEP_FOLDER = f"results/sweep/{SWEEP.wildcard_pattern}/seed-{{seed}}"


def swept_task(wildcards):
    point = SweepPoint(*(getattr(wildcards, name) for name in SweepPoint._fields))
    return point.task(CONFIG.tasks[CONFIG.sweep.task])


def swept_inputs(wildcards):
    task = swept_task(wildcards)
    splits = {"train": "train", "dev": CONFIG.corpora[task.corpus].dev_split}
    codebook = CONFIG.lm[task.lm].codebook
    indexes = {key: units_index(codebook, task.corpus, split) for key, split in splits.items()}
    return {**indexes, "lm": f"results/lm/{task.lm}/model.safetensors"}


def swept_lm(wildcards):
    return f"results/lm/{wildcards.lm}/model.safetensors"


def swept_scored(wildcards):
    task = swept_task(wildcards)
    splits = CONFIG.corpora[task.corpus].scored_splits
    return [units_index(CONFIG.lm[task.lm].codebook, task.corpus, split) for split in splits]


def swept_options(wildcards):
    return training_options(swept_task(wildcards), wildcards.method)


def swept_decoding(wildcards):
    return options_from_block(swept_task(wildcards).decoding)


def sweep_metrics():
    """metrics.json of every training of the sweep."""
    return [
        f"results/sweep/{point}/seed-{seed}/metrics.json"
        for point in SWEEP.instance_patterns
        for seed in CONFIG.seeds
    ]


def sweep_points():
    """Settings of each of them, and which are the task's own, as JSON."""
    points = CONFIG.sweep_points()
    if not points:
        return "[]"
    task = CONFIG.tasks[CONFIG.sweep.task]
    own = SweepPoint(
        task.method, task.lm, task.verbalizer, task.prompt.length, task.training.utterances or "all"
    )
    return json.dumps(
        [
            {
                **point._asdict(),
                "seed": seed,
                "own": [n for n, a, b in zip(own._fields, own, point) if a == b],
            }
            for point in points
            for seed in CONFIG.seeds
        ]
    )


def sweep_task():
    return CONFIG.sweep.task if CONFIG.sweep else ""


def published_results():
    return json.dumps({name: task.published for name, task in CONFIG.tasks.items()})


def model_targets():
    """Every model that is made here, with its learning curve."""
    return [
        *(
            f"results/codebooks/{n}.safetensors"
            for n, b in CONFIG.codebooks.items()
            if b.kind == "kmeans"
        ),
        *(f"results/encoders/{name}/learning_curve.png" for name in pretrained_encoders()),
        *(
            f"results/lm/{n}/learning_curve.png"
            for n, b in CONFIG.lm.items()
            if b.kind == "pretrained"
        ),
    ]


def quality_targets():
    return ["results/quality/table.md"] if CONFIG.quality else []


def sweep_targets():
    return ["results/sweep/sweep.parquet"] if CONFIG.sweep else []


def all_targets():
    """Every task's score and pictures, the table and the units' quality; without tasks, the models."""
    if not CONFIG.tasks:
        return model_targets() + quality_targets()
    generated = (name for name, task in CONFIG.tasks.items() if task.type != "classification")
    return [
        *(f"results/{name}/{task.score_file}" for name, task in CONFIG.tasks.items()),
        *(f"results/{name}/error_by_length.png" for name in generated),
        "results/table.md",
        "results/overview.html",
        *quality_targets(),
        *sweep_targets(),
    ]
