"""Metrics against hand-computed cases, jiwer, and SUPERB's definitions worked out by hand."""

import jiwer
import numpy as np
import pytest
from sklearn.metrics import f1_score

from speechprompt.evaluation.metrics import (
    MacroF1,
    Metric,
    count_errors,
    encode_classes,
    in_percent,
    metrics_of,
    score,
    score_gain,
    slot_type_f1,
    slot_value_errors,
)

PLAIN = "PLAY SOME MUSIC"
ONE = "PLAY [artist:MADONNA]"
TWO = "PLAY [artist:MADONNA] ON [service:SPOTIFY]"


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        (PLAIN, PLAIN, 1.0),  # no slot in either
        (PLAIN, ONE, 0.0),  # spurious slot, none expected
        (ONE, PLAIN, 0.0),  # missing slot
        (TWO, TWO, 1.0),
        (TWO, ONE, 2 / 3),  # precision 1, recall 1/2
        (ONE, TWO, 2 / 3),  # precision 1/2, recall 1
        (TWO, "[artist:X] [genre:Y]", 0.5),  # one of two right on both sides
        (ONE, "[artist:CHER]", 1.0),  # types only, values do not matter
        ("[artist:A] [artist:B]", "[artist:C]", 1.0),  # a repeated type counts once
        (ONE, "PLAY [artist:MADON", 1.0),  # not closed: ends with the answer
        (ONE, "PLAY MADONNA]", 0.0),  # closed, but never opened
        (ONE, "", 0.0),
    ],
)
def test_slot_type_f1(reference, answer, expected):
    assert slot_type_f1(reference, answer) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("reference", "answer", "expected"),
    [
        (PLAIN, PLAIN, (0, 0)),  # no slot: nothing to be wrong about
        (PLAIN, ONE, (0, 0)),  # a spurious slot costs no value
        (ONE, ONE, (0, 7)),
        (ONE, "PLAY [artist:MADONA]", (1, 7)),
        (ONE, "PLAY [genre:MADONNA]", (7, 7)),  # right value, wrong type: missing
        (TWO, ONE, (7, 14)),  # SPOTIFY is missing
        ("[artist:CHER]", "[artist:MADONNA] [artist:CHAR]", (1, 4)),  # the nearest of that type
        # Repeated types: each reference value takes its nearest, which two may share.
        ("[artist:ABC] [artist:XYZ]", "[artist:ABD]", (1 + 3, 6)),
        (ONE, "PLAY [artist:", (7, 7)),  # opened and empty
    ],
)
def test_slot_value_errors(reference, answer, expected):
    assert slot_value_errors(reference, answer) == expected


def test_wer_and_cer_agree_with_jiwer_over_the_corpus():
    references = ["THE CAT SAT", "ON THE MAT", "A", "HELLO THERE"]
    answers = ["THE BAT SAT DOWN", "ON MAT", "", "HELLO THERE"]
    counts = count_errors("transcription", ["text"], references, answers)
    columns = {name: np.array(values) for name, values in counts.items()}
    metrics = metrics_of(list(columns))
    assert list(metrics) == ["wer", "cer"]
    assert score(metrics["wer"], columns).value == jiwer.wer(references, answers)
    assert score(metrics["cer"], columns).value == jiwer.cer(references, answers)
    # By hand: 2 + 1 + 1 + 0 edits over 3 + 3 + 1 + 2 words.
    assert score(metrics["wer"], columns).value == 4 / 9


def test_marks_are_no_part_of_the_transcript():
    counts = count_errors("slot_filling", ["text", "tags"], [TWO], ["PLAY MADONNA ON SPOTIFY"])
    assert (counts["word_errors"], counts["words"]) == ([0], [4])
    assert counts["slot_type_f1"] == [0.0]
    assert (counts["slot_value_errors"], counts["slot_value_characters"]) == ([14], [14])


def test_an_intent_is_right_when_every_column_is():
    columns = ["action", "object"]
    counts = count_errors(
        "classification",
        columns,
        ["on | lamp", "off | lamp", "on | lamp"],
        ["on | lamp"] * 2 + [""],
    )
    assert counts == {
        "errors": [0, 1, 1],
        "errors_action": [0, 1, 1],
        "errors_object": [0, 0, 1],
    }
    accuracies = ["acc", "acc_action", "acc_object"]
    f1 = ["macro_f1", "macro_f1_action", "macro_f1_object"]
    assert list(metrics_of(list(counts))) == accuracies + f1


def test_macro_f1_is_scikit_learns_for_every_column_seed_and_sample():
    rng = np.random.default_rng(0)
    columns, n = ["action", "object"], 60
    truth = [f"{'abc'[i]} | {'xyz'[j]}" for i, j in rng.integers(0, 3, (n, 2))]
    # The second seed never answers some classes, and gives an answer that is none.
    seeds = [[truth[i] if i % 3 else truth[i - 1] for i in range(n)], ["a | x"] * (n - 1) + [""]]
    each = [encode_classes(columns, truth, answers) for answers in seeds]
    found = {name: np.stack([seed[name] for seed in each]) for name in each[0]}
    samples = [np.arange(n), *(rng.integers(0, n, n) for _ in range(20)), np.arange(3)]

    def by_sklearn(column, answers, rows):
        def value(answer):
            return answer if column is None else [*answer.split(" | "), ""][column]

        wanted, given = ([value(side[i]) for i in rows] for side in (truth, answers))
        return f1_score(wanted, given, labels=np.unique(wanted), average="macro", zero_division=0)

    for column, name in ((None, ""), (0, "action"), (1, "object")):
        expected = [
            np.mean([by_sklearn(column, answers, rows) for answers in seeds]) for rows in samples
        ]
        assert MacroF1(name).values(found, samples) == pytest.approx(expected)
    result = score(MacroF1(), found)
    assert result.interval[0] < result.value < result.interval[1]
    assert result.n == n
    same = encode_classes(columns, truth, truth)
    assert score(MacroF1(), same).value == 1
    assert score_gain(MacroF1(), same, found).value == pytest.approx(1 - result.value)


def test_interval_of_a_share_matches_the_normal_approximation():
    errors = np.zeros(2000)
    errors[:200] = 1
    found = score(Metric("errors", complement=True), {"errors": errors})
    half = 1.96 * np.sqrt(0.9 * 0.1 / 2000)
    assert found.value == pytest.approx(0.9)
    assert found.interval == pytest.approx((0.9 - half, 0.9 + half), abs=0.003)
    assert found.n == 2000


def test_interval_of_a_ratio_covers_its_value_at_the_nominal_rate():
    metric, rng = Metric("errors", "total"), np.random.default_rng(0)
    covered = 0
    for _ in range(100):
        total = rng.integers(1, 20, 300)
        low, high = score(metric, {"errors": rng.binomial(total, 0.3), "total": total}).interval
        covered += low <= 0.3 <= high
    assert 88 <= covered <= 100


def test_nothing_in_a_hundred_and_fifty_leaves_something_open():
    wilson = 1.959964**2 / (150 + 1.959964**2)
    accuracy, rate = Metric("errors", complement=True), Metric("errors")
    wrong, right = {"errors": np.ones(150)}, {"errors": np.zeros(150)}
    assert score(accuracy, wrong).interval == pytest.approx((0, wilson))
    assert in_percent(0, score(accuracy, wrong).interval) == "0.00 [0.00, 2.50]"
    assert score(accuracy, right).interval == pytest.approx((1 - wilson, 1))
    assert score(rate, right).interval == pytest.approx((0, wilson))
    words = {"errors": np.zeros(150), "words": np.full(150, 7)}
    assert score(Metric("errors", "words"), words).interval == pytest.approx((0, wilson))
    # That a constant answer has an error a word is no chance, and an error rate has no bound.
    words["errors"] = words["words"]
    assert score(Metric("errors", "words"), words).interval == (1, 1)
    same = encode_classes(["label"], ["a", "b"] * 75, ["a", "b"] * 75)
    assert score(MacroF1(), same).interval == pytest.approx((1 - wilson, 1))
    assert score_gain(accuracy, right, right).interval == pytest.approx((-wilson, wilson))
    higher = Metric("errors", complement=True, higher_is_better=True)
    assert score_gain(higher, right, wrong).interval == pytest.approx((1 - wilson, 1))


@pytest.mark.parametrize("n", [20, 150])
def test_interval_of_a_share_covers_it_at_the_nominal_rate_up_to_the_edges(n):
    """The share of simulated test sets whose interval has the true rate in it."""
    metric, rng, intervals = Metric("errors"), np.random.default_rng(0), {}
    for rate in (0.001, 0.01, 0.05, 0.2, 0.999):
        counts = rng.binomial(n, rate, 4000)
        for count in set(counts.tolist()) - intervals.keys():
            errors = np.arange(n) < count
            intervals[count] = score(metric, {"errors": errors.astype(float)}).interval
        covered = [intervals[k][0] <= rate <= intervals[k][1] for k in counts.tolist()]
        assert np.mean(covered) >= 0.91, rate


def test_seeds_are_averaged_per_utterance():
    errors = np.array([[0, 0, 1, 1], [0, 1, 1, 1]])
    found = score(Metric("errors", complement=True), {"errors": errors})
    assert found.value == 0.375
    assert found.n == 4


def test_gain_is_paired_and_above_zero_where_better():
    rng = np.random.default_rng(1)
    baseline = (rng.random(1000) < 0.5).astype(float)
    better = baseline.copy()
    better[np.flatnonzero(baseline)[:30]] = 0
    accuracy = Metric("errors", complement=True, higher_is_better=True)
    rate = Metric("errors")
    for metric in (accuracy, rate):
        gain = score_gain(metric, {"errors": better}, {"errors": baseline})
        assert gain.value == pytest.approx(0.03)
        # Far narrower than the two intervals side by side: the utterances are the same.
        assert 0.015 < gain.interval[0] < 0.03 < gain.interval[1] < 0.045
    worse = score_gain(rate, {"errors": baseline}, {"errors": better})
    assert worse.value == pytest.approx(-0.03)


def test_a_value_with_its_interval_in_percent():
    assert in_percent(0.1234, (0.1, 0.2)) == "12.34 [10.00, 20.00]"
    assert in_percent(0.5, (0.4, 1.0), " %") == "50.00 % [40.00, 100.00]"
    assert in_percent(-0.00001, (-0.02, -0.0)) == "0.00 [-2.00, 0.00]"
