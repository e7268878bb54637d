# Where results are, what is shown of them, and the default targets.

import re


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


def first_folder(wildcards):
    return folders_of(wildcards.task, CONFIG.tasks[wildcards.task].method)[0]


def files_of(name):
    """Names of the files in a finished task's folder, the score last."""
    task = CONFIG.tasks[name]
    trained = "model" if task.method == "downstream" else "prompt"
    return [f"{trained}.safetensors", "predictions.parquet", "metrics.json", task.score_file]


def finished_files():
    """These names after the tasks that have them, as a wildcard's constraint."""
    names = [(task, re.escape(file)) for task in CONFIG.tasks for file in files_of(task)]
    return one_of(f"(?<=/{task}/){file}" for task, file in names)


def finished_sources(wildcards):
    """What a file of a finished task is made of; behind the score stand all others."""
    name, task = wildcards.task, CONFIG.tasks[wildcards.task]
    named = {"summary": f"results/{name}/{task.method}/metrics.json"}
    if wildcards.file in ("prompt.safetensors", "model.safetensors", "predictions.parquet"):
        named["source"] = f"{first_folder(wildcards)}/{wildcards.file}"
    if wildcards.file != task.score_file:
        return named
    pictures = ["learning_curve.png"]
    if task.type == "classification":
        pictures.append("confusion_matrix.png")
    folders = folders_of(name, task.method)
    # What `speechprompt predict` can use; other methods have no model.json.
    model = ["model.json"] if task.method in ("prompt", "finetune") else []
    others = [*files_of(name)[:-1], *model]
    return {
        **named,
        "files": [f"results/{name}/{file}" for file in others],
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
    pictures += sweep_pictures() if CONFIG.sweep else []
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


def reported_results():
    return json.dumps({name: task.reported for name, task in CONFIG.tasks.items()})


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


def sweep_pictures():
    return expand("results/sweep/by_{kind}.png", kind=["parameters", "utterances", "choice"])


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
