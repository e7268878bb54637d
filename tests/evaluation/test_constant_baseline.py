import itertools

import jiwer
import numpy as np
import pyarrow.parquet as pq

from speechprompt.evaluation.constant_baseline import choose_answer, choose_constant_baseline
from speechprompt.evaluation.metrics import slot_type_f1
from speechprompt.evaluation.scored_splits import BaselineData, ScoreFiles
from speechprompt.tasks.examples import Examples
from speechprompt.tasks.sequences import Transcription


def test_no_other_answer_of_train_has_fewer_character_errors():
    train = ["THE CAT SAT", "A DOG", "THE CAT", "BIRDS FLY HIGH ABOVE"]
    dev = ["THE CAP SAT", "THE CAT", "A CAT SAT"]
    chosen = choose_answer("transcription", train, dev)
    words = {word for answer in train for word in answer.split()}
    best = min(jiwer.cer(dev, [c] * len(dev)) for c in itertools.chain(train, words))
    assert jiwer.cer(dev, [chosen] * len(dev)) == best


def test_no_other_answer_of_train_has_a_higher_slot_f1():
    train = ["GO", "[a:X] GO", "[a:X] TO [b:Y]", "[c:Z]"]
    dev = ["[a:Q]", "[a:Q] [b:R]", "[a:Q] [b:R]", "STOP"]
    chosen = choose_answer("slot_filling", train, dev)
    f1 = {answer: sum(slot_type_f1(r, answer) for r in dev) for answer in train}
    assert f1[chosen] == max(f1.values())


def test_the_constant_answer_of_a_classification_is_the_most_frequent_of_train():
    assert choose_answer("classification", ["a", "b", "c", "b"], ["a", "a"]) == "b"


def test_the_baseline_of_a_task_is_scored(tmp_path):
    texts = {"train": ["GO ON", "GO", "STOP"], "dev": ["GO ON", "GO"], "test": ["GO ON", "NO"]}
    units = [np.array([1, 2]), np.array([3]), np.array([4])]
    splits = {
        name: Examples([f"{name}-{i}" for i in range(len(rows))], units[: len(rows)], [], rows)
        for name, rows in texts.items()
    }
    labels = Transcription(("text",), tuple("GO NSTP"))
    data = BaselineData(labels, splits["train"], splits["dev"], {"test": splits["test"]})
    files = ScoreFiles(tmp_path / "predictions.parquet", tmp_path / "metrics.json")
    metrics = choose_constant_baseline("asr", data, files)
    answer = choose_answer("transcription", texts["train"], texts["dev"])
    assert pq.read_table(files.predictions)["prediction"].to_pylist() == [answer] * 2
    assert metrics.details == {"answer": answer}
    assert metrics.method == "constant"
