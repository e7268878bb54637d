# What jobs ask for, what this machine offers them, and how they are told.

import shlex
import sys

from snakemake_interface_storage_plugins.exceptions import FileOrDirectoryNotFoundError

from speechprompt.downloads.assets import ASSETS
from speechprompt.config.models import Imported
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.runtime.gpus import SLOTS, gpu_slots, gpus, memory_mb

# `auto` goes by this machine's hardware, unless other machines run the jobs.
DEVICE = CONFIG.device
if DEVICE == "auto" and (workflow.resource_settings.nodes or not workflow.is_main_process):
    DEVICE = "cpu"
GPU_SLOTS = []
if DEVICE != "cpu" and workflow.is_main_process:
    GPU_SLOTS = gpu_slots(gpus(), CONFIG.jobs_per_gpu)
if DEVICE == "auto":
    DEVICE = "cuda" if GPU_SLOTS else "cpu"

# A CUDA context and torch's kernels for it take host memory too; an allowance, not measured.
GPU_HOST_MB = 3000 if DEVICE == "cuda" else 0
# Memory for every byte of compressed units, read as Python's numbers: measured 70 for utterances
# of 400 units; 115 for those of 24, which are so few bytes that it does not matter.
UNITS_PER_BYTE = 80
# None leaves the request out: a cluster that is asked for 0 GPUs may still want to know which.
GPU = 1 if DEVICE == "cuda" else None

# Snakemake's default limit on job starts: so many in so many seconds.
JOB_STARTS = (100, 1)

# Where envs/speechprompt.post-deploy.sh finds the package.
CHECKOUT = Path(workflow.basedir).parent

# What runs a job but changes no result goes by the environment, not by params, so that another
# machine re-runs nothing. Last on the path: where no environment is activated, the command line
# of the package is found beside Snakemake.
shell.prefix(
    f"export SPEECHPROMPT_COMPUTE_THREADS={CONFIG.compute_threads}"
    f" SPEECHPROMPT_LM_THREADS={LM_THREADS} SPEECHPROMPT_DEVICE={DEVICE}"
    f" {SLOTS}={','.join(GPU_SLOTS)} SPEECHPROMPT_CHECKOUT={shlex.quote(str(CHECKOUT))}"
    f' PATH="$PATH:{Path(sys.executable).parent}"; '
)


def offer(name, amount):
    """Let no more of a resource be in use at once, unless the user said less."""
    given = workflow.global_resources
    if name not in given or given[name].value > amount:
        workflow.register_resource(name, amount)


# Counted where jobs run here, and only there.
resource_scopes:
    gpu="local",


if GPU_SLOTS:
    offer("gpu", len(GPU_SLOTS))
if workflow.is_main_process and not workflow.resource_settings.nodes:
    offer("mem_mb", memory_mb())


def refuse_without_gpu():
    """Stop before the first job if one wants a GPU and this machine, which would run it, has none."""
    if DEVICE != "cuda" or GPU_SLOTS or not (workflow.is_main_process and workflow.local_exec):
        return
    wanting = {j.rule.name for j in workflow.dag.needrun_jobs() if j.resources.get("gpu")}
    if wanting:
        raise WorkflowError(
            f"device: cuda is configured, but this machine has no GPU for {min(wanting)}; "
            "use cpu or auto, or the profile of a cluster."
        )


def look_when_a_job_ends():
    """Lift Snakemake's limit on job starts, unless the user set it.

    With it, every look at the open jobs arms a timer for the next one: after a few hundred jobs
    Snakemake looks at them a few hundred times a second, on a core of its own.
    """
    limiter = workflow.scheduler.job_rate_limiter
    if limiter is not None and (limiter.max_jobs, limiter.timespan) == JOB_STARTS:
        workflow.scheduler.job_rate_limiter = None


onstart:
    refuse_without_gpu()
    look_when_a_job_ends()


def memory(base, per_mb=0):
    """`mem_mb` of a rule: MB whatever it reads, and MB per MB that it reads.

    Twice that in the second attempt, and so on.
    """

    def mem_mb(wildcards, input, attempt):
        return attempt * round(base + needed_mb(input, per_mb))

    return mem_mb


def needed_mb(input, per_mb):
    """Memory for what a job reads: its files, and the units that its indexes list.

    What is not there yet does not count: Snakemake asks again when it is.
    """
    folders = [Path(path).parent for path in input if Path(path).name == "index.json"]
    units = sum(part.stat().st_size for folder in folders for part in folder.glob("part-*"))
    try:
        files = input.size_mb if per_mb else 0
    except FileOrDirectoryNotFoundError:
        files = 0
    return per_mb * files + UNITS_PER_BYTE * units / 10**6


def minutes(count):
    """`runtime` of a rule, and more with every attempt."""

    def runtime(wildcards, attempt):
        return attempt * count

    return runtime


def has_network(wildcards):
    """Whether the encoder is a neural network; the others are not worth a GPU."""
    return isinstance(CONFIG.encoders[wildcards.encoder], Imported)


def encoding_gpu(wildcards):
    return GPU if has_network(wildcards) else None


def encoding_memory(wildcards, input, attempt):
    """Weights as they are read, in float32, and laid out for products."""
    host = GPU_HOST_MB if has_network(wildcards) else 0
    return attempt * round(1500 + host + needed_mb(input, 3))


def synthesis_disk(wildcards):
    """Measured: 40 to 75 KB an utterance of the embedded corpora; others have longer ones."""
    corpus = CONFIG.corpora[wildcards.corpus]
    return 1000 + (corpus.n_train + corpus.n_valid + corpus.n_test) // 4


def encoding_disk(wildcards, input, attempt):
    """A shard's features: for every row of a manifest of long utterances, 15 s of HuBERT base."""
    manifest = Path(input.manifest)
    rows_mb = manifest.stat().st_size / 10**6 if manifest.exists() else 0
    return attempt * round(1000 + 10000 * rows_mb / int(wildcards.parts))


def download_disk(wildcards):
    """Archives and what they unpack to; a copy that is there is only linked to."""
    corpus = CONFIG.corpora[wildcards.corpus]
    if corpus.root:
        return 1000
    archives = [
        ASSETS[source.asset]
        for source in SOURCES[corpus.kind]
        if not corpus.folders or source.folder in corpus.folders
    ]
    return 1000 + sum((a.size or a.max_unpacked) + a.max_unpacked for a in archives) // 10**6


def lm_memory(wildcards, input, attempt):
    """Weights, gradients, Adam's moments, the best so far, and copies to write them."""
    lm = CONFIG.lm[wildcards.lm]
    weights = 4e-6 * lm.layers * (4 * lm.dim**2 + 2 * lm.dim * lm.ffn)
    return attempt * round(2500 + GPU_HOST_MB + 8 * weights + needed_mb(input, 0))


def training_memory(wildcards, input, attempt):
    """The unit LM's weights; in fine-tuning also what :func:`lm_memory` counts."""
    copies = 4 if wildcards.method == "prompt" else 10
    return attempt * round(2500 + GPU_HOST_MB + needed_mb(input, copies))
