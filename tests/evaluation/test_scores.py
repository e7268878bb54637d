import json
from hashlib import sha256
from typing import get_args

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from speechprompt.config.tasks import AcousticBaseline, Method
from speechprompt.errors import ArtefactError
from speechprompt.evaluation.error_by_length import error_by_length
from speechprompt.evaluation.names import name_in_text, short_name
from speechprompt.evaluation.pooling import pool_folds, pool_predictions, pooled_gain
from speechprompt.evaluation.predictions import write_predictions
from speechprompt.evaluation.scored_splits import ScoreFiles
from speechprompt.evaluation.scores import (
    Metrics,
    finish_task,
    judge,
    summarise_seeds,
    write_metrics,
)
from speechprompt.report.results_table import write_table
from speechprompt.storage.files import read_json


def rows(references, answers, prefix="u", repeats=None, **more):
    n = len(references)
    return {
        "utt_id": [f"{prefix}{i}" for i in range(n)],
        "reference": references,
        "prediction": answers,
        "score": np.zeros(n),
        "is_repeat": repeats or [False] * n,
        **more,
    }


def save(path, data, task_type="classification", columns=("label",), method="prompt"):
    splits = data if "test" in data else {"test": data}
    write_predictions(path, splits, task_type=task_type, columns=columns, method=method)
    return path


def measure(path, predictions, **more):
    metrics = write_metrics(path, [predictions], task="t", method="prompt", **more)
    assert read_json(path) == metrics.model_dump(mode="json")
    return metrics


def prompt_hash(seed):
    return sha256(b"prompt %d" % seed).hexdigest()


def seeds_of(tmp_path, references, answers_by_seed, **kind):
    """Folders as the pipeline fills them."""
    folders = []
    for seed, answers in enumerate(answers_by_seed, 1):
        folder = tmp_path / f"seed-{seed}"
        folders.append(folder)
        save(folder / "predictions.parquet", rows(references, answers), **kind)
        hashes = {"prompt": prompt_hash(seed), "lm": "x"}
        measure(
            folder / "metrics.json", folder / "predictions.parquet", seeds=[seed], hashes=hashes
        )
        (folder / "prompt.safetensors").write_bytes(b"prompt %d" % seed)
    return folders


def test_accuracy_by_row_and_over_distinct_utterances(tmp_path):
    data = rows(["a", "b", "b", "b"], ["a", "b", "a", "a"], repeats=[False, False, False, True])
    scores = measure(tmp_path / "m.json", save(tmp_path / "p.parquet", data)).splits["test"]
    assert (scores["acc"].value, scores["acc"].n) == (0.5, 4)
    assert scores["acc_distinct"].value == pytest.approx(2 / 3)
    assert scores["acc_distinct"].n == 3


def test_the_share_of_invalid_free_answers_is_a_metric(tmp_path):
    data = rows(["a", "b", "b", "b"], ["a", "", "b", "a"], invalid=[False, True, False, False])
    scores = measure(tmp_path / "m.json", save(tmp_path / "p.parquet", data)).splits["test"]
    assert scores["invalid"].value == 0.25


def test_the_last_split_gives_the_main_metric(tmp_path):
    splits = {"valid": rows(["a"], ["b"], "v"), "test": rows(["a", "a"], ["a", "b"], "t")}
    metrics = measure(tmp_path / "m.json", save(tmp_path / "p.parquet", splits))
    assert metrics.splits["valid"]["acc"].value == 0
    assert metrics.main.model_dump() == {"name": "acc", "value": 0.5, "higher_is_better": True}


def test_a_result_stands_beside_its_floor_with_the_paired_gain(tmp_path):
    ours = save(tmp_path / "p.parquet", rows(["a"] * 10, ["a"] * 8 + ["b"] * 2))
    floor = save(tmp_path / "f.parquet", rows(["a"] * 10, ["a"] * 5 + ["b"] * 5), method="ngrams")
    metrics = measure(tmp_path / "m.json", ours, baselines=[floor])
    assert metrics.floors["ngrams"]["test"]["acc"].value == 0.5
    assert metrics.gains["ngrams"]["test"]["acc"].value == pytest.approx(0.3)
    other = save(tmp_path / "o.parquet", rows(["a"] * 10, ["a"] * 10, "v"), method="ngrams")
    with pytest.raises(ArtefactError, match="different utterances"):
        measure(tmp_path / "m.json", ours, baselines=[other])


@pytest.mark.parametrize(
    ("right", "words"),
    [
        (30, "is worse than the n-gram baseline: 30.00 % and 50.00 %, gain -20.00 [-"),
        (50, "does not differ from the n-gram baseline, as far as 100 utterances tell: 50.00 %"),
        (80, None),
    ],
)
def test_a_summary_says_in_words_where_a_baseline_is_not_beaten(tmp_path, capsys, right, words):
    answers = ["a"] * right + ["b"] * (100 - right)
    folders = seeds_of(tmp_path / "prompt", ["a"] * 100, [answers])
    floor = rows(["a"] * 100, ["b"] * 10 + ["a"] * 40 + ["b"] * 40 + ["a"] * 10)
    constant = rows(["a"] * 100, ["b"] * 100)
    baselines = [
        save(tmp_path / "f.parquet", floor, method="ngram_logistic_regression"),
        save(tmp_path / "c.parquet", constant, method="constant"),
    ]
    capsys.readouterr()
    metrics = summarise_seeds(folders, tmp_path / "prompt" / "metrics.json", baselines)
    assert set(metrics.floors) == {"ngram_logistic_regression", "constant"}
    said = capsys.readouterr().err
    sentences = judge(metrics)
    assert len(sentences) == (0 if words is None else 1)
    for sentence in sentences:
        assert sentence.startswith(f"The prompt {words}")
        assert ("verbalizer: learnable" in sentence) == (right == 30)
        assert sentence in said
    assert ("is worse" in said) == (right == 30)
    finish_task(tmp_path / "prompt" / "metrics.json", tmp_path / "acc.txt")
    assert all(sentence in capsys.readouterr().err for sentence in sentences)


def test_generated_answers_stand_beside_themselves_shuffled(tmp_path):
    references = ["ONE", "TWO", "SIX", "TEN"]
    kind = {"task_type": "transcription", "columns": ["text"]}
    right = save(tmp_path / "p.parquet", rows(references, references), **kind)
    same = save(tmp_path / "s.parquet", rows(references, ["ONE"] * 4), **kind)
    constant = save(tmp_path / "c.parquet", rows(references, ["ONE"] * 4), method="c", **kind)
    metrics = measure(tmp_path / "m.json", right, baselines=[constant])
    assert metrics.main.model_dump() == {"name": "wer", "value": 0.0, "higher_is_better": False}
    # Nobody keeps an own answer, so every word is wrong.
    assert metrics.floors["shuffled"]["test"]["wer"].value == 1.0
    assert metrics.gains["shuffled"]["test"]["wer"].value == 1.0
    assert metrics.gains["c"]["test"]["wer"].value == 0.75
    # A prompt that does not listen gains nothing by its own utterances.
    deaf = measure(tmp_path / "m.json", same, baselines=[constant])
    assert deaf.gains["shuffled"]["test"]["wer"].value == 0.0


def test_a_finished_task_has_the_means_over_seeds(tmp_path):
    answers = (["a", "a", "a", "b"], ["a", "a", "b", "b"])
    folders = seeds_of(tmp_path / "prompt", ["a"] * 4, answers)
    summary = tmp_path / "prompt" / "metrics.json"
    summarise_seeds(folders, summary)
    for name in ("prompt.safetensors", "predictions.parquet"):
        finish_task(folders[0] / name, tmp_path / name)
    finish_task(summary, tmp_path / "metrics.json")
    finish_task(summary, tmp_path / "acc.txt")
    predictions = (folders[0] / "predictions.parquet").read_bytes()
    assert (tmp_path / "predictions.parquet").read_bytes() == predictions
    assert (tmp_path / "prompt.safetensors").read_bytes() == b"prompt 1"
    assert (tmp_path / "acc.txt").read_text() == "62.50\n"
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["main"] == {"name": "acc", "value": 0.625, "higher_is_better": True}
    assert metrics["per_seed"] == {"1": 0.75, "2": 0.5}
    prompts = {f"prompt_seed_{seed}": prompt_hash(seed) for seed in (1, 2)}
    assert metrics["hashes"] == {"lm": "x"} | prompts


def test_a_score_is_a_number(tmp_path):
    wrong = rows(["a"] * 3, ["a"] * 3) | {"score": [0.0, np.nan, -np.inf]}
    with pytest.raises(ArtefactError, match=r"p\.parquet: .* utterance 'u1' is no number"):
        save(tmp_path / "p.parquet", wrong)
    # As another program may write it.
    counted = rows(["a"] * 3, ["a"] * 3)
    table = pq.read_table(save(tmp_path / "p.parquet", counted | {"invalid": [0] * 3}))
    column = table.column_names.index("invalid")
    pq.write_table(table.set_column(column, "invalid", [[np.nan] * 3]), tmp_path / "p.parquet")
    with pytest.raises(ArtefactError, match=r"m\.json: .* is nan, which is no score"):
        write_metrics(tmp_path / "m.json", [tmp_path / "p.parquet"], task="t", method="prompt")
    assert not (tmp_path / "m.json").exists()


def test_a_finished_downstream_model_keeps_its_name(tmp_path):
    references, folder = ["a"] * 4, tmp_path / "seed-1"
    save(folder / "predictions.parquet", rows(references, references), method="downstream")
    m = sha256(b"model").hexdigest()
    hashes = {"encoder": "e", "model": m}
    measure(folder / "metrics.json", folder / "predictions.parquet", seeds=[1], hashes=hashes)
    (folder / "model.safetensors").write_bytes(b"model")
    summary = summarise_seeds([folder], tmp_path / "metrics.json")
    assert summary.hashes == {"encoder": "e", "model_seed_1": m}
    finish_task(folder / "model.safetensors", tmp_path / "out" / "model.safetensors")
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == b"model"
    (folder / "model.safetensors").unlink()
    with pytest.raises(ArtefactError, match=r"prompt\.safetensors or model\.safetensors"):
        finish_task(folder / "model.safetensors", tmp_path / "out" / "model.safetensors")


def test_table_has_a_row_per_task_method_and_baseline(tmp_path):
    references = ["ONE", "TWO", "SIX", "TEN"]
    kind = {"task_type": "transcription", "columns": ["text"]}
    floor = save(tmp_path / "c.parquet", rows(references, ["ONE"] * 4), method="constant", **kind)
    folders = seeds_of(tmp_path / "prompt", references, [["ONE", "TWO", "SIX", "TEM"]], **kind)
    summary = tmp_path / "prompt" / "metrics.json"
    summarise_seeds(folders, summary, [floor])
    write_table([summary], tmp_path / "t.md", {"t": {"prompt": 34.17}})
    table = pq.read_table(tmp_path / "t.parquet").to_pandas()
    assert list(zip(table["metric"], table["baseline"], strict=True)) == [
        ("wer", "constant"),
        ("wer", "shuffled"),
        ("cer", "constant"),
        ("cer", "shuffled"),
    ]
    assert table["value"].tolist() == [0.25, 0.25, 1 / 12, 1 / 12]
    assert table["gain_value"][0] == 0.5
    assert table["reported"][0] == pytest.approx(0.3417)
    assert pd.isna(table["reported"][2])
    text = (tmp_path / "t.md").read_text()
    assert "| t | prompt | wer | 25.00 [" in text
    assert "| 34.17 |" in text


def test_error_by_length_is_the_cer_of_each_range(tmp_path):
    references = ["A" * length for length in range(1, 41)]
    answers = [r if len(r) <= 20 else r[1:] for r in references]
    kind = {"task_type": "transcription", "columns": ["text"]}
    paths = [
        save(tmp_path / "p.parquet", rows(references, answers), **kind),
        save(tmp_path / "f.parquet", rows(references, references), method="finetune", **kind),
    ]
    table = error_by_length(paths).to_pandas()
    ours = table[table["method"] == "prompt"]
    assert ours["n"].sum() == 40
    assert (ours["n"] == 5).all()
    assert ours["shortest"].tolist() == [1, 6, 11, 16, 21, 26, 31, 36]
    assert ours["cer"].tolist()[:4] == [0, 0, 0, 0]
    assert ours["cer"].tolist()[4] == pytest.approx(5 / sum(range(21, 26)))
    assert (table[table["method"] == "finetune"]["cer"] == 0).all()
    labels = save(tmp_path / "k.parquet", rows(["a"], ["a"]))
    with pytest.raises(ArtefactError, match=r"k\.parquet"):
        error_by_length([labels])


def test_pooling_refuses_an_utterance_that_stands_twice(tmp_path):
    paths = []
    for name, prefix in (("a", "x"), ("b", "y"), ("c", "x")):
        paths.append(save(tmp_path / f"{name}.parquet", rows(["1", "2"], ["1", "1"], prefix)))
    assert pool_predictions(paths[:2]).value == 0.5
    assert pool_predictions(paths[:2]).n == 4
    with pytest.raises(ArtefactError, match=r"c\.parquet.*'x0'"):
        pool_predictions(paths)


def test_a_table_that_has_no_predictions_is_not_pooled(tmp_path):
    pq.write_table(pa.table({"utt_id": ["a"], "split": ["test"]}), tmp_path / "a.parquet")
    with pytest.raises(ArtefactError, match=r"a\.parquet: expected predictions, found a table of"):
        pool_predictions([tmp_path / "a.parquet"])


def test_predictions_that_lost_their_metadata_are_named(tmp_path):
    path = save(tmp_path / "a.parquet", rows(["1", "2"], ["1", "1"]))
    pq.write_table(pq.read_table(path).replace_schema_metadata(None), path)
    with pytest.raises(ArtefactError, match=r"a\.parquet: expected predictions with the metadata"):
        pool_predictions([path])


def test_pooled_predictions_are_compared_by_utterance(tmp_path):
    references = ["1", "2", "1", "2"] * 10
    ours = [save(tmp_path / "a.parquet", rows(references, references, "x"))]
    ours += [save(tmp_path / "b.parquet", rows(references, ["1"] * 40, "y"))]
    theirs = [save(tmp_path / "c.parquet", rows(references, ["1"] * 40, "y"))]
    theirs += [save(tmp_path / "d.parquet", rows(references, ["1"] * 40, "x"))]
    gain = pooled_gain(ours, theirs)
    assert gain.value == 0.25
    assert 0 < gain.interval[0] < 0.25 < gain.interval[1]
    assert pooled_gain(ours, ours).value == 0
    with pytest.raises(ArtefactError, match="different utterances"):
        pooled_gain(ours, theirs[:1])


def test_columns_that_not_all_pooled_files_have_are_left_out(tmp_path):
    known = save(tmp_path / "a.parquet", rows(["1", "2"], ["1", "2"], "x", speaker=["s", "t"]))
    unknown = save(tmp_path / "b.parquet", rows(["1", "2"], ["1", "1"], "y"))
    for paths in ([known, unknown], [unknown, known]):
        assert pool_predictions(paths).value == 0.75
        assert pooled_gain(paths, paths[::-1]).value == 0


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ({"columns": ["intent"]}, "expected a classification of label as in .*, found a .* intent"),
        ({"task_type": "transcription"}, "found a transcription of label"),
    ],
)
def test_different_tasks_are_not_pooled(tmp_path, task, message):
    ours = save(tmp_path / "a.parquet", rows(["1", "2"], ["1", "2"], "x"))
    other = save(tmp_path / "b.parquet", rows(["1", "2"], ["1", "1"], "y"), **task)
    with pytest.raises(ArtefactError, match=rf"b\.parquet: .*{message}"):
        pool_predictions([ours, other])
    same = save(tmp_path / "b.parquet", rows(["1", "2"], ["1", "1"], "x"), **task)
    with pytest.raises(ArtefactError, match=rf"b\.parquet: .*{message}"):
        pooled_gain([ours], [same])


def fold_of(folder, number, answers, method="prompt", seed=1):
    """The folder of a fold: two utterances of each of two speakers."""
    given = rows(list("abab"), list(answers), prefix=f"{9 - number}-", speaker=list("xxyy"))
    save(folder / "predictions.parquet", given, method=method)
    trained = {"hashes": {"prompt": prompt_hash(seed), "lm": "x"}, "seeds": [seed]}
    facts = trained if method == "prompt" else {"details": {"c": number}}
    path = folder / "predictions.parquet"
    write_metrics(folder / "metrics.json", [path], task=f"t/fold-{number}", method=method, **facts)
    return folder


def test_the_scores_of_folds_are_pooled(tmp_path):
    answers = {1: ("abab", "abba", "aaaa"), 2: ("abab", "baba", "abbb")}
    floors = [fold_of(tmp_path / f"n-{n}", n, a, "ngram") for n, a in enumerate(("aaaa",) * 3, 1)]
    floor = ScoreFiles(tmp_path / "floor/predictions.parquet", tmp_path / "floor/metrics.json")
    details = pool_folds(floors, floor, "t").details
    assert details == {f"fold_{n}": {"c": n} for n in (1, 2, 3)}
    for seed, given in answers.items():
        folders = [
            fold_of(tmp_path / f"{seed}-{n}", n, text, seed=seed) for n, text in enumerate(given, 1)
        ]
        out = tmp_path / f"seed-{seed}"
        files = ScoreFiles(out / "predictions.parquet", out / "metrics.json", [floor.predictions])
        metrics = pool_folds(folders, files, "t")
        assert metrics == Metrics.read(files.metrics)
        paths = [folder / "predictions.parquet" for folder in folders]
        others = [folder / "predictions.parquet" for folder in floors]
        assert metrics.splits["test"]["acc"] == pool_predictions(paths)
        assert metrics.gains["ngram"]["test"]["acc"] == pooled_gain(paths, others)
        assert {n: one.value for n, one in metrics.per_fold.items()} == {
            str(n): pool_predictions([path]).value for n, path in enumerate(paths, 1)
        }
        table = pd.read_parquet(files.predictions)
        assert table["fold"].tolist() == ["3"] * 4 + ["2"] * 4 + ["1"] * 4
    seeds = [tmp_path / f"seed-{seed}" for seed in answers]
    metrics = summarise_seeds(seeds, tmp_path / "metrics.json", [floor.predictions])
    assert metrics.task == "t"
    assert metrics.seeds == [1, 2]
    assert metrics.main.value == pytest.approx((8 / 12 + 7 / 12) / 2)
    assert {n: one.value for n, one in metrics.per_fold.items()} == {"1": 1, "2": 0.25, "3": 0.625}
    names = {f"prompt_fold_{fold}_seed_{seed}" for fold in (1, 2, 3) for seed in (1, 2)}
    assert set(metrics.hashes) == {"lm", *names}
    with pytest.raises(ArtefactError, match="is in an earlier file too"):
        pool_folds([floors[0], floors[0]], floor, "t")


def test_every_method_and_baseline_has_both_names():
    baselines = ("ngram_logistic_regression", "constant", "shuffled", *get_args(AcousticBaseline))
    for name in (*get_args(Method), *baselines):
        assert short_name(name) not in (name, name.replace("_", " "))
        assert name_in_text(name).split()[0] in ("the", "its")
    assert short_name("their_own") == name_in_text("their_own") == "their own"
