# Where models come from: published checkpoints, files of the user's own, or this workflow's training.

from speechprompt.downloads.assets import ASSETS
from speechprompt.config.models import (
    GivenCodebook,
    GivenUnitLm,
    Imported,
    ImportedCodebook,
    ImportedUnitLm,
    KmeansCodebook,
    UnitLmSettings,
)
from speechprompt.models.shipped import SHIPPED


def weights_of(encoder):
    """The safetensors file of an encoder: given, trained or imported; None where it has none."""
    block = CONFIG.encoders[encoder]
    if not isinstance(block, Imported):
        return None
    if getattr(block, "weights_of", None):
        return weights_of(block.weights_of)
    if getattr(block, "pretraining", None):
        return f"results/encoders/{encoder}/model.safetensors"
    return given_weights(block.weights) or f"resources/models/{encoder}/model.safetensors"


def given_weights(weights):
    """A shipped model's place after it was verified, or the user's own file."""
    return f"resources/models/shipped/{weights}" if weights in SHIPPED else weights


def given_model(section):
    """The input function of a rule that takes a model as it is."""

    def weights(wildcards):
        (name,) = wildcards
        return given_weights(getattr(CONFIG, section)[name].weights)

    return weights


def settings_of(encoder):
    """An encoder's settings for the command line, as JSON."""
    left_out = {
        "sample_corpora",
        "sample_frames",
        "pretraining",
        "weights_of",
        *Imported.model_fields,
    }
    settings = CONFIG.encoders[encoder].model_dump(exclude=left_out)
    weights = weights_of(encoder)
    return json.dumps(settings | ({"weights": weights} if weights else {}))


def pretrained_encoders():
    """Names of the encoders that are trained here."""
    return [name for name, block in CONFIG.encoders.items() if getattr(block, "pretraining", None)]


def pretraining_inputs(wildcards):
    pretraining = CONFIG.encoders[wildcards.encoder].pretraining
    taught_by = pretraining.target_corpora or pretraining.corpora
    return {
        "units": [units_index(pretraining.targets, name, "train") for name in taught_by],
        "heard": [f"results/manifests/{name}/train.parquet" for name in pretraining.corpora],
        "start": [weights_of(pretraining.start)] if pretraining.start else [],
    }


def pretraining_settings(wildcards):
    pretraining = CONFIG.encoders[wildcards.encoder].pretraining
    return block_to_json(pretraining)


def start_option(wildcards, input):
    return f"--start-from {input.start}" if input.start else ""


def encoder_settings(wildcards):
    return settings_of(wildcards.encoder)


def encoder_weights(wildcards):
    weights = weights_of(wildcards.encoder)
    return [weights] if weights else []


def checkpoint_of(block):
    """A published file's place after its download, or the user's own file."""
    return f"resources/models/published/{block.checkpoint}" if block.published else block.checkpoint


def imported_checkpoint(section):
    """The input function of an import: the checkpoint of the block that the wildcard names."""

    def checkpoint(wildcards):
        (name,) = wildcards
        return checkpoint_of(getattr(CONFIG, section)[name])

    return checkpoint


def import_options(section):
    """Published files must have their published sum; others may be trusted."""

    def options(wildcards):
        (name,) = wildcards
        block = getattr(CONFIG, section)[name]
        asset = ASSETS.get(block.checkpoint)
        words = ["--sha256", asset.sha256] if asset and asset.sha256 else []
        return shlex.join(words + (["--trust"] if block.trust else []))

    return options


def model_blocks():
    """Every block that may name a checkpoint."""
    blocks = (*CONFIG.encoders.values(), *CONFIG.codebooks.values(), *CONFIG.lm.values())
    return [block for block in blocks if isinstance(block, Imported) and block.checkpoint]


def published_models():
    return one_of(block.checkpoint for block in model_blocks() if block.published)


def model_root(wildcards):
    """`--root` where the user has the published file already."""
    roots = {b.root for b in model_blocks() if b.checkpoint == wildcards.asset and b.root}
    return shlex.join(["--root", min(roots)]) if roots else ""


def of_block(section, kind):
    """Names of the blocks of one class in a section, imported encoders only if from a checkpoint."""
    blocks = getattr(CONFIG, section).items()
    return one_of(name for name, b in blocks if isinstance(b, kind) and getattr(b, "checkpoint", 1))


def import_encoder_verb(wildcards):
    return f"import-{CONFIG.encoders[wildcards.encoder].kind}"


def import_encoder_digest(wildcards):
    return code_of(import_encoder_verb(wildcards))(wildcards)


def codebook_encoder(wildcards):
    return CONFIG.codebooks[wildcards.codebook].encoder


def task_codebook(wildcards):
    return CONFIG.lm[CONFIG.tasks[wildcards.task].lm].codebook


def task_encoder(wildcards):
    """The encoder behind a task's unit LM, which the task's downstream model hears with."""
    return CONFIG.codebooks[task_codebook(wildcards)].encoder


def task_encoder_weights(wildcards):
    weights = weights_of(task_encoder(wildcards))
    return [weights] if weights else []


def task_manifest(wildcards, split):
    return f"results/manifests/{CONFIG.tasks[wildcards.task].corpus}/{split}.parquet"


def downstream_inputs(wildcards):
    corpus = CONFIG.corpora[CONFIG.tasks[wildcards.task].corpus]
    return {
        "train": task_manifest(wildcards, "train"),
        "dev": task_manifest(wildcards, corpus.dev_split),
        "weights": task_encoder_weights(wildcards),
    }


def downstream_scored(wildcards):
    corpus = CONFIG.corpora[CONFIG.tasks[wildcards.task].corpus]
    return [task_manifest(wildcards, split) for split in corpus.scored_splits]


def downstream_encoder(wildcards):
    return settings_of(task_encoder(wildcards))


def downstream_settings(wildcards):
    return block_to_json(CONFIG.tasks[wildcards.task].downstream)


def codebook_encoder_weights(wildcards):
    weights = weights_of(codebook_encoder(wildcards))
    return [weights] if weights else []


def codebook_encoder_settings(wildcards):
    return settings_of(codebook_encoder(wildcards))


def described_files(wildcards):
    """What model.json refers to; behind ready units there is no encoder."""
    codebook = task_codebook(wildcards)
    files = {
        "prompt": f"{first_folder(wildcards)}/prompt.safetensors",
        "lm": task_lm(wildcards),
    }
    if isinstance(CONFIG.codebooks[codebook], ExternalCodebook):
        return files
    weights = task_encoder_weights(wildcards)
    return {**files, "codebook": codebook_source(codebook), "weights": weights}


def heard_options(wildcards):
    """How the task's units come from audio, as options."""
    codebook = task_codebook(wildcards)
    block = CONFIG.codebooks[codebook]
    if isinstance(block, ExternalCodebook):
        return ""
    words = ["--codebook", codebook_source(codebook), "--encoder", settings_of(block.encoder)]
    return shlex.join([*words, "--deduplicate", json.dumps(block.deduplicate)])
