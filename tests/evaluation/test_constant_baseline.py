import itertools

import jiwer
import pytest

from speechprompt.errors import ConfigError
from speechprompt.evaluation.constant_baseline import choose_answer
from speechprompt.evaluation.metrics import slot_type_f1


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


def test_a_classification_has_another_floor():
    with pytest.raises(ConfigError, match="classification"):
        choose_answer("classification", ["a"], ["a"])
