"""Every rule carries a digest of the code that its verb runs: an edit re-runs that rule."""

import ast
import shutil
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline import REPOSITORY
from speechprompt.config import parse_config, read_config
from speechprompt.storage import code_digest
from speechprompt.workflow.digests import Digests
from speechprompt.workflow.folds import with_folds

SETUP = Path(__file__).with_name("every_rule.yaml")
# The function of each rule's stage.
STAGES = {
    "align_phones": "corpora.synthetic.alignments:align_phones",
    "choose_examples": "report.examples:choose_examples",
    "choose_constant_baseline": "evaluation.constant_baseline:choose_constant_baseline",
    "compare_quality": "report.quality_table:compare_quality",
    "copy_shipped": "models.shipped:shipped_model",
    "describe_model": "predict.task_folder:describe_model",
    "download_corpus": "corpora.published.collect:download_corpus",
    "download_hub_corpus": "downloads.hub:download_hub_corpus",
    "download_hub_model": "downloads.hub:_copy_checked",
    "download_model": "downloads.download:fetch",
    "extract_features": "units.extraction:extract_features",
    "finish_task": "evaluation.scores:finish_task",
    "fit_acoustic_baseline": "evaluation.acoustic_baselines:fit_acoustic_baseline",
    "fit_codebook": "units.codebook:fit_codebook",
    "fit_ngram_baseline": "evaluation.ngram_baseline:fit_ngram_baseline",
    "gather_sweep": "report.sweep:gather_sweep",
    "gather_units": "units.unit_files:gather_units",
    "import_codebook": "models.importing.codebook:import_codebook",
    "import_encoder": "models.importing.hubert:import_hubert",
    "import_unit_lm": "models.importing.unit_lm:import_unit_lm",
    "measure_units": "evaluation.phone_quality:measure_units",
    "measure_robustness": "predict.robustness:measure_robustness",
    "plot_codebook": "report.pictures:plot_codebook",
    "plot_confusion": "report.pictures:plot_confusion",
    "plot_curve": "report.pictures:plot_curve",
    "plot_encoder_curve": "report.pictures:plot_curve",
    "plot_error_by_length": "evaluation.error_by_length:error_by_length",
    "plot_lm_curve": "report.pictures:plot_curve",
    "plot_robustness": "report.robustness:plot_robustness",
    "pool_baselines": "evaluation.pooling:pool_folds",
    "pool_folds": "evaluation.pooling:pool_folds",
    "plot_unit_statistics": "units.statistics:unit_statistics",
    "prepare_commands": "corpora.kaldi:list_recordings",
    "prepare_corpus": "corpora.prepare:prepare_corpus",
    "prepare_speech_commands": "corpora.prepare:prepare_corpus",
    "prepare_units": "units.text_corpus:prepare_units",
    "pretrain_encoder": "pretraining.hubert:pretrain_encoder",
    "pretrain_unit_lm": "lm.pretraining:pretrain_unit_lm",
    "quantize_units": "units.quantization:quantize_units",
    "sample_frames": "units.extraction:sample_frames",
    "score_downstream": "evaluation.downstream_scores:score_downstream",
    "score_prompt": "evaluation.prompt_scores:score_prompt",
    "score_swept": "evaluation.prompt_scores:score_prompt",
    "summarise_seeds": "evaluation.scores:summarise_seeds",
    "synthesise_corpus": "corpora.synthetic.synthesis:speak_utterances",
    "take_codebook": "units.codebook:check_codebook",
    "take_fold": "corpora.folds:take_fold",
    "take_unit_lm": "lm.artefact:load_lm",
    "take_units": "units.unit_files:take_units",
    "train_downstream": "downstream.training:train_downstream",
    "train_prompt": "prompting.training:train_prompt",
    "train_swept": "prompting.training:train_prompt",
    "write_overview": "report.overview:write_overview",
    "write_task_overview": "report.overview:write_overview",
    "write_table": "report.results_table:write_table",
}
# Modules that a stage chooses by a name in the configuration, an example of each.
CHOSEN = [
    ("synthesise_corpus", "corpora.synthetic.keyword_spotting:plan"),
    ("align_phones", "corpora.synthetic.transcription:plan"),
    ("prepare_corpus", "corpora.published.fsdd:list_recordings"),
    ("extract_features", "encoders.mfcc:MfccEncoder.encode_one"),
    ("fit_acoustic_baseline", "encoders.mfcc:MfccEncoder.encode_one"),
    ("train_downstream", "encoders.hubert:HubertEncoder.encode_states"),
    ("score_downstream", "encoders.hubert:HubertEncoder.encode_states"),
    ("take_codebook", "encoders.hubert:HubertEncoder.__init__"),
    ("import_codebook", "encoders.hubert:HubertEncoder.__init__"),
]


@pytest.fixture
def copy(tmp_path, monkeypatch):
    """A copy of the package, whose code is digested."""
    place = tmp_path / "speechprompt"
    left_out = shutil.ignore_patterns("*.safetensors", "__pycache__")
    shutil.copytree(REPOSITORY / "src/speechprompt", place, ignore=left_out)
    monkeypatch.setattr(code_digest, "PACKAGE", place)
    monkeypatch.setattr(code_digest, "_MODULES", dict(code_digest._MODULES))
    return place


@contextmanager
def edited(package, function):
    """Put a statement into a function, or a class's method, for a while."""
    module, _, name = function.partition(":")
    base = package.joinpath(*module.split("."))
    path = base.with_suffix(".py") if base.with_suffix(".py").is_file() else base / "__init__.py"
    text = path.read_text()
    node = ast.parse(text)
    for part in name.split("."):
        (node,) = (one for one in node.body if getattr(one, "name", None) == part)
    lines = text.splitlines()
    last = node.body[-1]
    lines.insert(last.lineno - 1, " " * last.col_offset + "edited = True")
    path.write_text("\n".join(lines))
    code_digest._MODULES.pop(module, None)
    yield
    path.write_text(text)
    code_digest._MODULES.pop(module, None)


@pytest.fixture(scope="module")
def digests():
    return Digests(with_folds(parse_config(read_config(SETUP))))


@pytest.fixture(scope="module")
def unchanged(planned_jobs, digests):
    return codes(planned_jobs, digests)


def codes(planned_jobs, digests):
    """The digest of every job of a rule, by rule and what else decides it."""
    found = {}
    for job in planned_jobs["jobs"]:
        if job["rule"] == "all":
            continue
        verb, wildcards = verb_of(planned_jobs, job), SimpleNamespace(**job["wildcards"])
        key = (job["rule"], verb, *digests.registered(verb, wildcards))
        if key not in found:
            found[key] = digests.of(verb)(wildcards).split()[0]
    return found


def rerun_by(planned_jobs, digests, package, function, unchanged):
    """Rules, with what else decides their digests, that an edit re-runs."""
    with edited(package, function):
        found = codes(planned_jobs, digests)
    return {key for key in found if found[key] != unchanged[key]}


def verb_of(planned_jobs, job):
    """The verb in a rule's text."""
    program, log, place, verb, *_ = command_of(planned_jobs["rules"][job["rule"]]["shell"])
    assert (program, log, place) == ("speechprompt", "--log", "{log:q}")
    return job["params"]["verb"] if verb == "{params.verb}" else verb


def command_of(shell):
    """The words of a shell command without the environment that is set before."""
    words = shell.split()
    return words[1:] if "=" in words[0] else words


def before_each(jobs):
    """Rules whose jobs any job of a rule needs, and that do not need it in turn."""
    needed = [set() for _ in jobs]

    def gather(number):
        if not needed[number]:
            for one in jobs[number]["needs"]:
                needed[number] |= {one} | gather(one)
        return needed[number]

    before = {}
    for number, job in enumerate(jobs):
        rules = {jobs[one]["rule"] for one in gather(number)}
        before.setdefault(job["rule"], set()).update(rules)
    return {
        rule: {one for one in rules if rule not in before[one]} for rule, rules in before.items()
    }


def test_the_plan_has_every_rule(planned_jobs):
    assert {job["rule"] for job in planned_jobs["jobs"]} == set(planned_jobs["rules"])


def test_every_rule_carries_the_digest_of_its_verb(planned_jobs, digests):
    for name, rule in planned_jobs["rules"].items():
        assert name == "all" or "code" in rule["params"], name
    of = cache(digests.of)
    for job in planned_jobs["jobs"]:
        if job["rule"] != "all":
            code = of(verb_of(planned_jobs, job))
            # After it is what is known of files of the user's own.
            digest, *_ = job["params"]["code"].split()
            assert digest == code(SimpleNamespace(**job["wildcards"])).split()[0]


def test_the_table_of_stages_has_every_rule(planned_jobs):
    assert set(STAGES) == set(planned_jobs["rules"]) - {"all"}


def test_an_edit_reruns_its_rule_and_nothing_before(planned_jobs, digests, unchanged, copy):
    before = before_each(planned_jobs["jobs"])
    for rule, function in STAGES.items():
        again = {key[0] for key in rerun_by(planned_jobs, digests, copy, function, unchanged)}
        assert rule in again, f"{rule} does not see an edit of {function}"
        assert not again & before[rule], f"{function} is of {rule}, and re-runs what is before"
    assert codes(planned_jobs, digests) == unchanged


@pytest.mark.parametrize(("rule", "function"), CHOSEN)
def test_an_edit_of_what_is_chosen_by_name_counts(
    planned_jobs, digests, unchanged, copy, rule, function
):
    again = rerun_by(planned_jobs, digests, copy, function, unchanged)
    assert rule in {key[0] for key in again}
    chosen = function.partition(":")[0]
    others = {key for key in unchanged if key[0] == rule and len(key) > 2 and key[2] != chosen}
    assert not again & others


def test_settings_and_parsing_do_not_count(planned_jobs, digests, unchanged, copy):
    for path in (copy / "config").glob("*.py"):
        path.write_text(path.read_text() + "\nEDITED = True\n")
    code_digest._MODULES.clear()
    assert not rerun_by(planned_jobs, digests, copy, "cli.verb:boolean", unchanged)
