"""Calibration by a temperature, and known against unknown words."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from speechprompt.evaluation.calibration import (
    Calibration,
    area_under_curve,
    calibration_error,
    equal_error,
)
from speechprompt.prompting.calibration import answer_shares, calibrated, fit_temperature
from speechprompt.prompting.combinations import best_labels


def measured(scores, labels, names, temperature, columns=None):
    """The calibration of the likeliest label of each column."""
    answers, _ = best_labels(scores, columns or [range(scores.shape[1])])
    right = np.reshape(labels, answers.shape).tolist()
    return Calibration.measure(scores, answers.tolist(), right, names, temperature, columns)


def drawn(n=4000, sharpness=2.5, names=5):
    """Log-probabilities that are too sure by a factor, and labels drawn from what is right."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (n, names))
    true = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = [int(rng.choice(names, p=row)) for row in true]
    scores = sharpness * logits
    return scores - np.log(np.exp(scores).sum(1, keepdims=True)), labels


def test_the_temperature_is_how_much_too_sure_the_scores_are():
    scores, labels = drawn()
    temperature = fit_temperature(scores, labels)
    assert temperature == pytest.approx(2.5, abs=0.15)
    found = measured(scores, labels, list("abcde"), temperature)
    assert found.error_before > 0.2
    assert found.error_after < 0.03
    assert found.auroc is None
    assert [point.threshold for point in found.curve][:2] == [0.0, 0.5]
    assert found.curve[0].answered == 1
    rights = [point.right for point in found.curve]
    assert rights == sorted(rights)


def test_a_temperature_keeps_answers_and_sums():
    scores, _ = drawn(50)
    for temperature in (0.05, 1.0, 20.0):
        shares = calibrated(scores, temperature)
        assert np.allclose(shares.sum(1), 1)
        assert (shares.argmax(1) == scores.argmax(1)).all()
    assert np.allclose(calibrated(scores, 1), np.exp(scores))


def test_certain_answers_have_a_temperature_too():
    scores = np.log(np.array([[1.0, 1e-30], [1e-30, 1.0]]))
    assert 0 < fit_temperature(scores, [0, 1]) < 20
    assert fit_temperature(scores, [1, 0]) == pytest.approx(20, rel=0.01)


def test_several_columns_share_a_temperature_and_are_calibrated_as_whole_answers():
    (first, one), (second, other) = drawn(names=3), drawn(sharpness=2.5, names=4)
    columns = [[0, 1, 2], [3, 4, 5, 6]]
    scores, labels = (
        np.hstack((first, second)),
        [[a, 3 + b] for a, b in zip(one, other, strict=True)],
    )
    temperature = fit_temperature(scores, labels, columns)
    assert temperature == pytest.approx(2.5, abs=0.15)
    shares = calibrated(scores, temperature, columns)
    for scored, own in ((first, columns[0]), (second, columns[1])):
        assert (shares[:, own] == calibrated(scored, temperature)).all()
    names = ["a=x", "a=y", "a=z", "b=s", "b=t", "b=u", "b=unknown"]
    found = measured(scores, labels, names, temperature, columns)
    assert found.error_before > 0.2
    assert found.error_after < 0.03
    assert found.auroc is None
    right = (first.argmax(1) == one) & (second.argmax(1) == other)
    assert found.curve[0].right == pytest.approx(right.mean())
    best = np.stack((first.argmax(1), 3 + second.argmax(1)), axis=1)
    assert np.allclose(answer_shares(shares, best), shares[:, :3].max(1) * shares[:, 3:].max(1))


def test_the_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.55, 0.55])
    right = np.array([True, False, True, True])
    assert calibration_error(confidence, right) == pytest.approx((0.9 + 0.9) / 4)
    assert calibration_error(np.ones(3), np.ones(3, bool)) == 0


def test_rates_are_scikit_learns():
    rng = np.random.default_rng(1)
    for digits in (1, 8):
        known = rng.normal(0.8, 0.2, 300).round(digits)
        unknown = rng.normal(0.5, 0.2, 200).round(digits)
        truth, scores = np.repeat([1, 0], [300, 200]), np.concatenate((known, unknown))
        assert area_under_curve(known, unknown) == pytest.approx(roc_auc_score(truth, scores))
        wrong, right, _ = roc_curve(truth, scores, drop_intermediate=False)
        axis = np.linspace(0, 1, 100_001)
        misses = 1 - np.interp(axis, wrong, right)
        nearest = axis[np.argmin(np.abs(misses - axis))]
        assert equal_error(known, unknown) == pytest.approx(nearest, abs=1e-3)
    assert equal_error(np.array([0.9]), np.array([0.1])) == 0
    assert equal_error(np.array([0.1]), np.array([0.9])) == 1
    assert equal_error(np.array([0.5]), np.array([0.5])) == 0.5


def test_unknown_words_are_told_from_known_ones():
    scores, labels = drawn()
    found = measured(scores, labels, ["yes", "no", "up", "unknown", "off"], 2.5)
    known = np.array(labels) != 3
    sure = 1 - calibrated(scores, 2.5)[:, 3]
    assert found.auroc == pytest.approx(roc_auc_score(known, sure))
    assert 0 < found.equal_error_rate < 0.5
    only = measured(scores[:3], [3, 3, 3], ["a", "b", "c", "unknown", "e"], 2.5)
    assert only.auroc is None


def test_where_no_answer_is_kept_none_is_right():
    flat = np.log(np.full((3, 4), 0.25))
    found = measured(flat, [0, 1, 2], list("abcd"), 1.0)
    assert (found.curve[0].right, found.curve[-1].right) == (pytest.approx(1 / 3), None)
    assert Calibration.mean([found, found]) == found


def test_the_mean_over_seeds():
    scores, labels = drawn()
    names = ["yes", "no", "up", "unknown", "off"]
    one, other = (measured(scores, labels, names, t) for t in (1.0, 3.0))
    mean = Calibration.mean([one, other])
    assert mean.temperature == 2
    assert mean.auroc == pytest.approx((one.auroc + other.auroc) / 2)
    assert mean.curve[3].answered == pytest.approx(
        (one.curve[3].answered + other.curve[3].answered) / 2
    )
    without = one.model_copy(update={"auroc": None})
    assert Calibration.mean([without, other]).auroc is None
