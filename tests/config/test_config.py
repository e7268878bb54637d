import time
from pathlib import Path

import pytest
import yaml

from base_config import BASE, PRETRAINED, changed, changed_block
from speechprompt.config import Config, parse_config, read_config
from speechprompt.config.fields import PATTERNS
from speechprompt.config.tasks import Task
from speechprompt.downloads.model_folder import REPOSITORY, REVISION
from speechprompt.errors import ConfigError
from speechprompt.workflow.configuration import load_config

SET_UPS = sorted(path.name for path in (Path(__file__).parents[2] / "configs").glob("*.yaml"))


def test_base_is_accepted_with_defaults():
    config = parse_config(BASE)
    assert config.tasks["ks"].prompt.length == 20
    assert config.codebooks["k100"].n_units == 100
    assert config.corpora["words"].splits == ["train", "valid", "test"]
    assert config.corpora["ready"].splits == ["train", "dev", "valid"]


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("sed", 1, ["sed: unknown key", "seeds"]),
        (
            "tasks.ks.prompt.lenght",
            3,
            ["tasks.ks.prompt.lenght: unknown key; did you mean 'length'?", "length"],
        ),
        ("corpora.words.n_tran", 3, ["corpora.words.n_tran: unknown key", "n_train"]),
        ("corpora.words.n_train", "many", ["corpora.words.n_train", "integer", "'many'"]),
        ("corpora.words.kind", "tape", ["corpora.words", "'tape'", "'csv'"]),
        ("device", "gpu", ["device", "'cuda'", "'gpu'"]),
        ("max_rejected", 2, ["max_rejected", "less than 1"]),
        ("tasks.units", {"corpus": "words", "lm": "small"}, ["tasks.units", "results/units"]),
        ("tasks.a/b", {"corpus": "words", "lm": "small"}, ["tasks.a/b: a name", "digits"]),
        ("lm.small.codebook", "k/2", ["lm.small.codebook: a name", "digits", "'k/2'"]),
        (
            "corpora.words.keywords",
            ["yes", "route 66"],
            ["corpora.words.keywords.1: a keyword has only letters from A to Z", "'route 66'"],
        ),
        ("tasks.ks.corpus", "word", ["tasks.ks.corpus", "'word'", "words"]),
        ("tasks.ks.lm", "big", ["tasks.ks.lm", "'big'", "small"]),
        ("tasks.ks.corpus", "ready", ["tasks.ks.corpus", "'other'", "'k100'"]),
        ("tasks.ks.compare", ["downstrem"], ["tasks.ks.compare", "'downstream'", "'downstrem'"]),
        ("tasks.ks.compare", ["downstream"], ["tasks.ks.compare", "'mfcc'", "normalize: true"]),
        ("tasks.ks.method", "downstream", ["tasks.ks.method", "cmvn: false"]),
        (
            "tasks.ks.downstream",
            {"width": 3},
            ["tasks.ks.downstream.width: unknown key", "hidden"],
        ),
        (
            "tasks.ks.prompt.length",
            0,
            ["tasks.ks.prompt.length", "equal to 1", "0"],
        ),
        ("tasks.ks.prompt.mode", "shallow", ["tasks.ks.prompt.mode", "'infix'", "'shallow'"]),
        ("tasks.ks.prompt.init", "zeros", ["tasks.ks.prompt.init", "'hidden'", "'zeros'"]),
        ("tasks.ks.verbalizer", "best", ["tasks.ks.verbalizer", "'learnable'", "'best'"]),
        ("tasks.ks.training.schedule", "linear", ["training.schedule", "'cosine'", "'linear'"]),
        ("tasks.ks.training.betas", [0.9, 1], ["tasks.ks.training.betas", "less than 1"]),
        ("tasks.ks.training.betas", [0.9], ["tasks.ks.training.betas", "required"]),
        ("lm.small.precision", "fp8", ["lm.small.precision", "'bf16'", "'fp8'"]),
        ("tasks.ks.reported", {"prompts": 95.0}, ["tasks.ks.reported", "'prompts'", "'prompt'"]),
        ("tasks.ks.labels", ["a", "a"], ["tasks.ks.labels", "twice"]),
        ("corpora.words.speeds", [0.9, 1], ["corpora.words.speeds", "without the 1", "found 1"]),
        ("corpora.words.speeds", [4], ["corpora.words.speeds", "0.5 to 2.0"]),
        ("corpora.words.speeds", [0.9, 0.9], ["corpora.words.speeds", "different speeds"]),
        ("corpora.words.speeds", 0.9, ["corpora.words.speeds", "list"]),
        ("corpora.ready.speeds", [0.9], ["corpora.ready.speeds: unknown key"]),
        ("encoders.mfcc.sample_corpora", ["ready"], ["sample_corpora", "units, not audio"]),
        ("codebooks.k100.encoder", "hubert", ["codebooks.k100.encoder", "mfcc"]),
        ("lm.small.heads", 3, ["lm.small.dim", "heads"]),
        ("seeds", [1, 1], ["seeds", "twice"]),
        ("seeds", [], ["seeds"]),
        ("lm.small.codebook", "other", ["lm.small.corpora", "external"]),
        ("encoders.mfcc.sample_corpora", [], ["encoders.mfcc.sample_corpora", "'k100'"]),
        ("encoders.hubert", {"kind": "hubert"}, ["encoders.hubert.weights", "checkpoint"]),
        (
            "encoders.hubert",
            {"kind": "hubert", "checkpoint": "hubert_base.pt"},
            ["encoders.hubert.checkpoint", "'hubert_base.pt'", "hubert_base_ls960.pt"],
        ),
        (
            "lm.gslm",
            {"codebook": "k100", "checkpoint": "hubert100_lm.tgz", "trust": True},
            ["lm.gslm.trust", "of one's own"],
        ),
        (
            "codebooks.km",
            {"encoder": "mfcc", "checkpoint": "mine/km.bin", "root": "models"},
            ["codebooks.km.root", "published"],
        ),
        (
            "lm.gslm",
            {"codebook": "km100", "checkpoint": "hubert100_lm.tgz"},
            ["lm.gslm.codebook", "'km100'", "k100"],
        ),
        ("corpora.words.plain", True, ["corpora.words.plain", "keyword_spotting"]),
        (
            "encoders.own",
            changed_block(PRETRAINED, target_corpora=["words", "words"]),
            ["encoders.own.pretraining.target_corpora", "one for each"],
        ),
        (
            "encoders.own",
            changed_block(PRETRAINED, target_corpora=["ready"]),
            ["encoders.own.pretraining.target_corpora", "units, not audio"],
        ),
        ("encoders.own", PRETRAINED | {"weights": "w"}, ["encoders.own.weights", "exactly one"]),
        (
            "encoders.own",
            changed_block(PRETRAINED, corpora=["ready"]),
            ["encoders.own.pretraining.corpora", "units, not audio"],
        ),
        (
            "encoders.own",
            changed_block(PRETRAINED, targets="k10"),
            ["encoders.own.pretraining.targets", "'k10'", "k100"],
        ),
        (
            "encoders.own",
            changed_block(PRETRAINED, targets="other"),
            ["encoders.own.pretraining.targets", "external"],
        ),
        (
            "encoders.own",
            changed_block(PRETRAINED, width=3),
            ["encoders.own.pretraining.width: unknown key", "dim"],
        ),
        (
            "encoders.own",
            {"kind": "hubert", "weights_of": "mfcc"},
            ["encoders.own.weights_of", "'mfcc' has no weights"],
        ),
        (
            "encoders.mfcc",
            PRETRAINED | {"sample_corpora": ["words"]},
            ["encoders.mfcc.pretraining.targets", "learn from itself"],
        ),
        (
            "lm.gslm",
            {"codebook": "k100", "checkpoint": "a/lm.tgz", "layers": 3},
            ["lm.gslm.layers: unknown key", "checkpoint"],
        ),
        ("tasks.quality", {"corpus": "words", "lm": "small"}, ["results/quality is taken"]),
        ("tasks.alignments", {"corpus": "words", "lm": "small"}, ["results/alignments"]),
        (
            "quality",
            {"corpus": "word", "codebooks": ["k100"]},
            ["quality.corpus: 'word' is not known", "words"],
        ),
        (
            "quality",
            {"corpus": "ready", "codebooks": ["k100"]},
            ["quality.corpus", "synthetic", "'ready' is of kind units"],
        ),
        (
            "quality",
            {"corpus": "words", "codebooks": ["k10"]},
            ["quality.codebooks: 'k10' is not known; did you mean 'k100'?", "k100"],
        ),
        (
            "quality",
            {"corpus": "words", "codebooks": ["other"]},
            ["quality.codebooks: 'other' is external"],
        ),
        ("quality", {"corpus": "words", "codebooks": []}, ["quality.codebooks", "at least 1"]),
        ("quality", {"corpus": "words", "codebooks": ["k100"] * 2}, ["quality.codebooks", "twice"]),
        (
            "quality",
            {"corpus": "words", "codebooks": ["k100"], "split": "dev"},
            ["quality.split", "'test'", "'dev'"],
        ),
        (
            "quality",
            {"corpus": "words", "codebook": "k100"},
            ["quality.codebook: unknown key", "codebooks", "split"],
        ),
    ],
)
def test_wrong_value_is_refused_with_its_path(path, value, expected):
    with pytest.raises(ConfigError) as caught:
        parse_config(changed(path, value))
    for text in expected:
        assert text in str(caught.value)


def test_downstream_models_need_audio():
    values = changed("lm.ready", {"codebook": "other", "corpora": ["ready"]})
    values["tasks"]["ks"] |= {"corpus": "ready", "lm": "ready"}
    parse_config(values)
    values["tasks"]["ks"]["compare"] = ["downstream"]
    with pytest.raises(ConfigError, match=r"tasks\.ks\.compare: .*'ready' holds units"):
        parse_config(values)
    values["tasks"]["ks"] |= {"compare": [], "acoustic_baselines": ["mfcc_mean"]}
    with pytest.raises(ConfigError, match=r"acoustic_baselines: .*'ready' holds units"):
        parse_config(values)


def test_robustness_is_of_what_hears_by_a_unit_lm():
    values = changed("tasks.ks.robustness", True)
    parse_config(values)
    values["tasks"]["ks"]["method"] = "downstream"
    with pytest.raises(ConfigError, match="robustness: is of a prompt or of finetune"):
        parse_config(values)


def test_rows_in_front_stand_beside_query_rows():
    values = changed("tasks.ks.prompt", {"mode": "query", "front": 4})
    parse_config(values)
    values["tasks"]["ks"]["prompt"]["mode"] = "deep"
    with pytest.raises(ConfigError, match="front: needs `mode: query`, found deep"):
        parse_config(values)


@pytest.mark.parametrize("name", ["novel", "distinct"])
def test_no_label_column_has_the_name_of_a_score(name):
    with pytest.raises(ConfigError, match=rf"tasks\.ks\.labels: '{name}' stands for"):
        parse_config(changed("tasks.ks.labels", ["label", name]))


def test_acoustic_baselines_classify():
    values = changed("tasks.ks.acoustic_baselines", ["mfcc_dtw"])
    parse_config(values)
    values["tasks"]["ks"] |= {"type": "transcription", "labels": ["text"]}
    with pytest.raises(ConfigError, match="acoustic_baselines: classify"):
        parse_config(values)


def test_downstream_settings_are_superbs_unless_given():
    values = changed("tasks.ks.downstream", {"normalize": True, "max_epochs": 3})
    values["tasks"]["ks"]["compare"] = ["downstream", "finetune"]
    task = parse_config(values).tasks["ks"]
    assert task.methods == ["prompt", "downstream", "finetune"]
    assert (task.downstream.max_epochs, task.downstream.lr, task.downstream.hidden) == (
        3,
        1e-4,
        None,
    )


def test_a_unit_lm_goes_on_from_one_of_its_codebook():
    values = changed("lm.larger", {"codebook": "k100", "corpora": ["words"], "start": "small"})
    assert parse_config(values).lm["larger"].start == "small"
    values["lm"]["small"]["start"] = "larger"
    with pytest.raises(ConfigError, match=r"start: unit LM 'small' would go on from itself"):
        parse_config(values)
    values["lm"]["small"]["start"] = "smal"
    with pytest.raises(ConfigError, match=r"lm\.small\.start: .*'smal'"):
        parse_config(values)
    ready = {"codebook": "other", "corpora": ["ready"], "start": "small"}
    with pytest.raises(ConfigError, match=r"start: 'small' reads codebook 'k100', not 'other'"):
        parse_config(changed("lm.ready", ready))


def test_quality_is_measured_where_it_is_configured():
    assert parse_config(BASE).quality is None
    quality = parse_config(changed("quality", {"corpus": "words", "codebooks": ["k100"]})).quality
    assert (quality.corpus, quality.split, quality.codebooks) == ("words", "test", ["k100"])


def test_a_block_with_a_checkpoint_is_imported():
    values = changed("lm.small", {"codebook": "k100", "checkpoint": "mine/lm.tgz", "trust": True})
    values["codebooks"]["k100"] = {"encoder": "mfcc", "checkpoint": "hubert_km100.bin"}
    config = parse_config(values)
    assert config.lm["small"].kind == config.codebooks["k100"].kind == "imported"
    assert config.codebooks["k100"].published
    assert not config.lm["small"].published


@pytest.mark.parametrize("name", SET_UPS)
def test_the_set_ups_that_come_along_are_accepted(name):
    text = (Path(__file__).parents[2] / "configs" / name).read_text()
    config = parse_config(yaml.safe_load(text))
    assert config.tasks or config.encoders


def test_a_learnable_verbalizer_writes_behind_query_rows_only():
    values = changed("tasks.ks.verbalizer", "learnable")
    parse_config(values)
    values["tasks"]["ks"] |= {"type": "transcription", "labels": ["text"]}
    with pytest.raises(ConfigError, match=r"mode: query.* for transcription, found mode deep"):
        parse_config(values)
    Task(corpus="c", lm="l", type="transcription", verbalizer="learnable", prompt={"mode": "query"})


def test_overrides_are_laid_over_the_default(tmp_path):
    default = tmp_path / "config.yaml"
    values = {key: value for key, value in BASE.items() if key != "corpora"}
    default.write_text(
        yaml.safe_dump(
            {
                **values,
                "corpora": {"words": {"kind": "synthetic"}},
                "codebooks": {"k100": {"encoder": "mfcc"}},
            }
        )
    )
    override = {"tasks": {"ks": {"prompt": {"length": "9"}}}}
    config = load_config(override, default=default, complete=False)
    assert config.tasks["ks"].prompt.length == 9
    assert config.tasks["ks"].corpus == "words"


def test_a_complete_setup_takes_nothing_from_the_default(tmp_path):
    default = tmp_path / "config.yaml"
    default.write_text(yaml.safe_dump(BASE))
    assert not load_config({"seed": 2}, default=default, complete=True).tasks


def test_missing_file_of_a_corpus_is_named(tmp_path):
    values = {"corpora": {"mine": {"kind": "csv", "table": str(tmp_path / "no.csv")}}}
    with pytest.raises(ConfigError, match=r"corpora\.mine\.table: no such file"):
        load_config(values, default="unused", complete=True)


@pytest.mark.parametrize("text", ["a: [", "- 1\n- 2\n", ""])
def test_unreadable_yaml_is_named(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"broken\.yaml"):
        read_config(path)


def layers(first, form):
    """Nine times nine times nine values, and so on, in a few hundred bytes."""
    lines = [f"a{i}: &a{i} {form % ', '.join([f'*a{i - 1}'] * 9)}" for i in range(1, 20)]
    return "\n".join([f"a0: &a0 {first}", *lines])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (layers("[x]", "[%s]"), "line 7: with its aliases it has more than 200000 values"),
        (layers("{k: v}", "{<<: [%s]}"), "line 7: with its aliases it has more than 200000 values"),
        ("a: &a [*a]", "line 1: it contains itself"),
        ("a: 1\nb: &b {c: {d: *b}}", "line 2: it contains itself"),
        ("a: " + ":".join(["59"] * 1000), "line 1: a number is too long"),
        ("[" * 100_000, "nested too deeply"),
        ("#" * 10_000_001, "longer than 10000000 characters"),
    ],
    ids=["lists", "merged", "itself", "deep", "base 60", "nested", "long"],
)
def test_a_few_lines_that_stand_for_billions_are_refused(tmp_path, text, message):
    path = tmp_path / "setup.yaml"
    path.write_text(text)
    began = time.process_time()
    with pytest.raises(ConfigError, match=rf"setup\.yaml: .*{message}"):
        read_config(path)
    assert time.process_time() - began < 10


def test_aliases_are_values_like_others(tmp_path):
    path = tmp_path / "setup.yaml"
    path.write_text("a: &a {x: [1, 2]}\nb: *a\nc: {<<: *a, y: 3}\n")
    assert read_config(path) == {"a": {"x": [1, 2]}, "b": {"x": [1, 2]}, "c": {"x": [1, 2], "y": 3}}


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm"])
def test_a_published_hubert_is_no_other_encoder(kind):
    block = {"kind": kind, "checkpoint": "hubert_base_ls960.pt"}
    with pytest.raises(ConfigError, match=r"checkpoint: hubert_base_ls960\.pt is another kind"):
        parse_config(changed("encoders.other", block))


def test_every_pattern_of_a_text_is_told_in_words():
    found = {
        node["pattern"]
        for node in _nodes(Config.model_json_schema())
        if isinstance(node.get("pattern"), str)
    }
    # Blocks refuse these two themselves, with a reason.
    by_blocks = {f"^{pattern.pattern}$" for pattern in (REPOSITORY, REVISION)}
    assert found - by_blocks == PATTERNS.keys()


def _nodes(tree):
    if isinstance(tree, dict):
        yield tree
    for part in tree.values() if isinstance(tree, dict) else tree:
        if isinstance(part, dict | list):
            yield from _nodes(part)
