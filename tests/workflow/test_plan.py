"""What the rules compute, without Snakemake."""

import json
import os
import re

import pytest
import yaml
from made_up_jobs import Files, of

from pipeline import REPOSITORY
from speechprompt.config import Config, parse_config
from speechprompt.errors import ConfigError
from speechprompt.models.shipped import SHIPPED
from speechprompt.workflow.blocks import encoder_behind
from speechprompt.workflow.paths import one_of, options, part_files
from speechprompt.workflow.plan import Plan


def matches(constraint, *names):
    return [name for name in names if re.fullmatch(constraint, name)]


def test_a_constraint_matches_its_names_only():
    assert matches(one_of(["ks", "ic"]), "ks", "ic", "ksic", "") == ["ks", "ic"]
    assert matches(one_of([]), "", "ks") == []


def test_parts_are_numbered_from_0():
    assert part_files("f", 2) == ["f/part-00000-of-00002.parquet", "f/part-00001-of-00002.parquet"]


def test_corpora_by_kind(plan):
    assert plan.corpora.of_kind("synthetic") == "keywords|requests|sentences"
    assert matches(plan.corpora.not_of_kind("units"), "mine", "ready") == ["mine"]
    assert matches(
        plan.corpora.not_of_kind("units", "speech_commands"), "mine", "ready", "commands"
    ) == ["mine"]


def test_each_folder_of_a_published_corpus_is_downloaded_by_itself(plan):
    constraint = f"resources/corpora/[a-z]+/root/({plan.corpora.folders()})"
    names = ["read/root/dev-clean", "read/root/dev-other", "digits/root/recordings"]
    paths = [f"resources/corpora/{name}" for name in [*names, "digits/root/dev-clean"]]
    assert matches(constraint, *paths) == [paths[0], paths[2]]
    source = plan.corpora.source(of(corpus="read", folder="dev-clean"))
    assert source == "--kind librispeech --folders dev-clean"


def test_a_copy_of_a_corpus_is_named():
    corpora = {"mine": {"kind": "fsdd", "root": "/data/my digits"}}
    plan = Plan(parse_config({"corpora": corpora}))
    source = plan.corpora.source(of(corpus="mine", folder="recordings"))
    assert source == "--kind fsdd --root '/data/my digits' --folders recordings"
    assert "root" not in json.loads(plan.corpora.settings(of(corpus="mine")))


@pytest.mark.parametrize(
    ("corpus", "listing", "listed", "root"),
    [
        (
            "keywords",
            ["resources/corpora/keywords/corpus.csv"],
            [f"resources/corpora/keywords/{split}" for split in ("train", "valid", "test")],
            "resources/corpora/keywords",
        ),
        ("mine", ["mine/table.csv"], ["mine"], "mine"),
        (
            "digits",
            ["resources/corpora/digits/root/recordings"],
            [],
            "resources/corpora/digits/root/recordings",
        ),
        (
            "commands",
            [
                "resources/corpora/commands/root/speech_commands_v0.01",
                "resources/corpora/commands/root/speech_commands_test_set_v0.01",
            ],
            [],
            "resources/corpora/commands/root",
        ),
    ],
)
def test_what_a_corpus_is_prepared_from(plan, corpus, listing, listed, root):
    assert plan.corpora.listing(of(corpus=corpus)) == listing
    assert plan.corpora.listed(of(corpus=corpus)) == listed
    assert plan.corpora.root(of(corpus=corpus), Files(listed=listing)) == root


def test_recordings_of_a_split(plan):
    assert plan.corpora.recordings("keywords", "test") == ["resources/corpora/keywords/test"]
    assert plan.corpora.recordings("mine", "train") == ["mine"]
    folders = [path.split("/")[-1] for path in plan.corpora.recordings("commands", "train")]
    assert folders == ["speech_commands_v0.01", "speech_commands_test_set_v0.01", "silence"]


@pytest.mark.parametrize("table", ["table.csv", "../table.csv", "absolute"])
def test_of_the_working_directory_only_what_a_table_lists_is_needed(tmp_path, monkeypatch, table):
    (tmp_path / "run").mkdir()
    monkeypatch.chdir(tmp_path if table == "table.csv" else tmp_path / "run")
    lines = ["path,split", "wavs/1.wav,train", "wavs/2.wav,train", "3.wav,train", "/a/4.wav,train"]
    (tmp_path / "table.csv").write_text("\n".join(lines))
    table = str(tmp_path / "table.csv") if table == "absolute" else table
    corpora = {"mine": {"kind": "csv", "table": table}}
    plan = Plan(parse_config({"corpora": corpora}))
    found = plan.corpora.recordings("mine", "train")
    assert [os.path.relpath(path, tmp_path) for path in map(os.path.abspath, found)] == [
        "wavs",
        "3.wav",
    ]
    (tmp_path / "table.csv").write_text("path\n")
    # A plan reads a table once, however many jobs ask.
    assert plan.corpora.recordings("mine", "test") == found
    assert Plan(parse_config({"corpora": corpora})).corpora.recordings("mine", "train") == []


def test_lines_of_ready_units(plan):
    texts = plan.corpora.unit_texts(of(corpus="ready"))
    assert texts == {"train": "train.txt", "valid": "valid.txt", "dictionary": "dict.txt"}
    places = Files(train="s/train.txt", valid="s/valid.txt", dictionary="s/dict.txt")
    options = plan.corpora.unit_options(of(corpus="ready"), places)
    assert options == "--train s/train.txt --valid s/valid.txt"


def test_a_corpus_of_another_kind_is_refused(plan):
    with pytest.raises(ConfigError, match="expected UnitsCorpus, found SyntheticCorpus"):
        plan.corpora.unit_texts(of(corpus="keywords"))


def test_features_behind_units(plan):
    part = of(codebook="nano100", corpus="keywords", split="test", part="00001", parts="00002")
    expected = "results/features/nano/keywords/test/part-00001-of-00002.parquet"
    assert plan.units.features(part) == expected
    sampled = plan.units.sampled_features(of(encoder="mfcc"))
    assert len(sampled) == 4
    assert all("/train/" in path for path in sampled)


def test_a_codebook_may_have_a_seed_of_its_own():
    values = {
        "seed": 3,
        "corpora": {"words": {"kind": "synthetic"}},
        "encoders": {"mfcc": {"kind": "mfcc", "sample_corpora": ["words"]}},
        "codebooks": {"own": {"encoder": "mfcc", "seed": 0}, "other": {"encoder": "mfcc"}},
    }
    units = Plan(parse_config(values)).units
    assert units.seed(of(codebook="own")) == 0
    assert units.seed(of(codebook="other")) == 3


def test_ready_units_are_one_part_and_have_no_manifest(plan):
    ready = of(codebook="dictionary", corpus="ready", split="train")
    assert len(plan.units.parts_of(ready)) == 1
    assert plan.units.manifest(ready) == []
    assert plan.units.manifest_option(ready, Files(manifest=[])) == ""
    assert plan.units.source("dictionary") == "dict.txt"
    with pytest.raises(ConfigError, match="behind an external codebook"):
        encoder_behind(plan.config, "dictionary")


@pytest.mark.parametrize(
    ("encoder", "weights"),
    [
        ("mfcc", []),
        ("nano", ["resources/models/shipped/hubert-nano.safetensors"]),
        ("base", ["resources/models/base/model.safetensors"]),
        ("trained", ["results/encoders/trained/model.safetensors"]),
    ],
)
def test_where_an_encoders_weights_are(plan, encoder, weights):
    assert plan.models.weights(encoder) == weights
    assert "weights" not in json.loads(plan.models.encoder(encoder))


def test_another_layer_has_the_weights_of_its_encoder():
    setup = yaml.safe_load((REPOSITORY / "configs/nano.yaml").read_text())
    plan = Plan(parse_config(setup))
    assert plan.models.weights("nano_3") == ["results/encoders/nano/model.safetensors"]
    assert json.loads(plan.models.encoder("nano_3"))["layer"] == 3
    taught = plan.models.pretraining_files(of(encoder="nano"))
    assert taught["start"] == ["results/encoders/second/model.safetensors"]
    told = ("plain_more", "plain_more_foreign", "plain_people", "recordings")
    assert taught["units"] == [f"results/units/second500/{name}/train/index.json" for name in told]
    heard = ("more_english", "more_foreign", "people", "recordings")
    assert taught["heard"] == [f"results/manifests/{name}/train.parquet" for name in heard]


def test_a_unit_lm_goes_on_from_another():
    setup = yaml.safe_load((REPOSITORY / "configs/nano.yaml").read_text())
    setup["lm"]["further"] = setup["lm"]["nano"] | {"start": "nano", "pretraining_tasks": {}}
    plan = Plan(parse_config(setup))
    start = ["results/lm/nano/model.safetensors"]
    assert plan.models.lm_files(of(lm="further"))["start"] == start
    found = plan.models.start_option(of(lm="further"), Files(start=start[0]))
    assert found == f"--start-from {start[0]}"
    assert plan.models.lm_files(of(lm="nano"))["start"] == ["results/lm/plain/model.safetensors"]
    assert plan.models.lm_files(of(lm="plain"))["start"] == []
    assert plan.models.start_option(of(lm="plain"), Files(start=[])) == ""


def test_robustness_is_of_the_finished_task(planned_jobs):
    (job,) = (job for job in planned_jobs["jobs"] if job["rule"] == "measure_robustness")
    assert {"results/ks/model.json", "results/ks/prompt.safetensors"} <= set(job["input"])


def test_options_without_a_value_are_left_out():
    assert options(root=None, weights=[], trust=False) == ""
    assert options(trust=True, folders="a b") == "--trust --folders 'a b'"
    assert options(few=3, seed=0) == "--few 3 --seed 0"
    assert options(root="--help", kind="-x") == "--root=--help --kind=-x"


def test_weights_are_an_option_where_there_are_any(plan):
    assert "weights" not in plan.models.encoder_options(of(encoder="mfcc"), Files(weights=[]))
    weights = Files(weights="my models/a.safetensors")
    for found in (
        plan.models.encoder_options(of(encoder="nano"), weights),
        plan.tasks.encoder_options(of(task="ks"), weights),
    ):
        assert found.startswith("--encoder '{")
        assert found.endswith(" --encoder-weights 'my models/a.safetensors'")


def test_models_by_where_they_come_from(plan):
    assert plan.models.of_kind("codebooks", "kmeans") == "continued20|mfcc50|trained20"
    assert plan.models.of_kind("lm", "given") == "nano"
    assert plan.models.imported_encoders() == "base"
    assert matches(plan.models.shipped(), *SHIPPED) == list(SHIPPED)
    checkpoint = plan.models.checkpoint(of(encoder="base"))
    assert checkpoint == "resources/models/published/hubert_base_ls960.pt"
    assert plan.models.import_verb(of(encoder="base")) == "import-hubert"
    assert plan.models.given(of(lm="nano")) == "resources/models/shipped/unit-lm-nano.safetensors"


def test_only_what_is_set_is_passed_on_and_only_for_the_hub(plan, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "secret")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    assert plan.models.hub_variables() == ["HF_TOKEN"]
    assert Plan(Config()).models.hub_variables() == []


def test_a_training_reads_indexes_and_all_their_parts(plan):
    read = plan.tasks.training_files(of(task="ks"))
    assert read["train"] == "results/units/nano100/keywords/train/index.json"
    assert read["dev"] == "results/units/nano100/keywords/valid/index.json"
    assert len(read["parts"]) == 4
    ready = plan.tasks.training_files(of(task="ready"))
    assert ready["dev"] == "results/units/dictionary/ready/dev/index.json"
    assert len(ready["parts"]) == 2


def test_settings_of_a_training_are_its_methods_own(plan):
    prompt = json.loads(plan.tasks.settings(of(task="ks", method="prompt")))
    finetune = json.loads(plan.tasks.settings(of(task="ks", method="finetune")))
    assert prompt["training"]["lr"] != finetune["training"]["lr"]
    assert not {"compare", "reported", "decoding", "finetuning"} & set(prompt)


def test_what_answers_new_audio(plan):
    files = plan.tasks.answering_files(of(task="ks"))
    assert set(files) == {"prompt", "lm", "codebook", "weights"}
    assert files["prompt"] == "results/ks/prompt/seed-1/prompt.safetensors"
    heard = plan.tasks.hearing(of(task="ks"), Files(codebook="a b", weights=[]))
    assert heard.startswith("--encoder '{")
    assert "--codebook 'a b' --deduplicate true" in heard
    assert heard.endswith("--corpus keywords")
    assert set(plan.tasks.answering_files(of(task="ready"))) == {"prompt", "lm"}
    assert plan.tasks.hearing(of(task="ready"), Files()) == ""


def test_a_finished_task_has_the_files_of_its_type_and_method(plan):
    constraint = re.compile(f"results/(?P<task>[a-z]+)/(?P<file>{plan.results.finished_files()})")
    for path, expected in {
        "results/ks/acc.txt": True,
        "results/ks/wer.txt": False,
        "results/asr/wer.txt": True,
        "results/sf/f1.txt": True,
        "results/ks/prompt.safetensors": True,
        "results/ks/model.safetensors": False,
        "results/hidden/model.safetensors": True,
        "results/ks/accxtxt": False,
    }.items():
        assert bool(constraint.fullmatch(path)) == expected, path


def test_with_the_score_come_all_files(plan):
    files = plan.results.finished_sources(of(task="ks", file="acc.txt"))
    assert files["source"] == "results/ks/metrics.json"
    assert set(files["files"]) == {
        f"results/ks/{name}"
        for name in ("prompt.safetensors", "predictions.parquet", "metrics.json", "model.json")
    }
    assert len(files["pictures"]) == 4
    hidden = plan.results.finished_sources(of(task="hidden", file="acc.txt"))
    assert "results/hidden/model.json" not in hidden["files"]
    copied = plan.results.finished_sources(of(task="ks", file="prompt.safetensors"))
    assert copied == {"source": "results/ks/prompt/seed-1/prompt.safetensors"}


def test_targets(plan):
    targets = plan.results.targets()
    assert {"results/ks/acc.txt", "results/text/wer.txt", "results/sf/f1.txt"} <= set(targets)
    assert {"results/table.md", "results/quality/table.md", "results/sweep/sweep.parquet"} <= set(
        targets
    )
    models = Plan(plan.config.model_copy(update={"tasks": {}, "sweep": None})).results.targets()
    assert "results/lm/mfcc/learning_curve.svg" in models
    assert "results/lm/nano/learning_curve.svg" not in models
    assert "results/encoders/trained/learning_curve.svg" in models


def test_a_sweep_has_a_metrics_file_for_every_point_and_seed(plan):
    points = json.loads(plan.sweep.points())
    assert len(points) == len(plan.sweep.metrics()) == 4
    first = "results/sweep/method~prompt/lm~nano/verbalizer~frequency/length~5/utterances~all"
    assert plan.sweep.metrics()[0] == f"{first}/seed-1/metrics.json"
    assert points[0]["length"] == 5
    assert "length" not in points[0]["own"]
    point = of(method="prompt", lm="nano", verbalizer="frequency", length="5", utterances="all")
    assert json.loads(plan.sweep.settings(point))["prompt"]["length"] == 5


def test_without_a_sweep_there_is_nothing_to_gather(plan):
    sweep = Plan(plan.config.model_copy(update={"sweep": None})).sweep
    assert (sweep.metrics(), sweep.targets(), sweep.points(), sweep.task()) == ([], [], "[]", "")


def test_the_page_of_one_task_takes_no_more_training_than_its_score(plan):
    files = plan.results.task_page_files(of(task="ks"))
    assert files["metrics"] == "results/ks/prompt/metrics.json"
    assert "results/ks/examples.parquet" in files["beside"]
    assert "results/ks/prompt/seed-1/confusion_matrix.svg" in files["pictures"]
    read = [files["metrics"], *files["beside"], *files["pictures"]]
    assert not [path for path in read if "finetune" in path or "robustness" in path]
    assert list(json.loads(plan.results.task_page_setup(of(task="ks")))["tasks"]) == ["ks"]
    assert plan.results.task_page_folder(of(task="ks"), of(metrics=files["metrics"])) == "results"
    written = plan.results.task_page_files(of(task="asr"))["pictures"]
    assert not [path for path in written if path.endswith("error_by_length.svg")]


def test_recordings_that_may_not_be_copied_are_not_listened_to():
    setup = yaml.safe_load((REPOSITORY / "configs/ci.yaml").read_text())
    heard = Plan(parse_config(setup)).results
    assert "results/ks/examples.parquet" in heard.overview_files()
    files = heard.example_files(of(task="ks"))
    assert files["manifest"] == "results/manifests/keywords/test.parquet"
    assert files["recordings"] == ["resources/corpora/keywords/test"]
    setup["corpora"]["keywords"]["listen"] = False
    silent = Plan(parse_config(setup)).results
    assert "results/ks/examples.parquet" not in silent.overview_files()
    assert silent.listened() == "(?!)"
    for wrong in (-1, 500, True, "many"):
        setup["corpora"]["keywords"]["listen"] = wrong
        with pytest.raises(ConfigError, match="listen"):
            parse_config(setup)
