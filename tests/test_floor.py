import numpy as np
import pytest

from speechprompt.floor import fit_floor


def sequences(rng, n):
    """Two classes that differ in the order of two units only."""
    labels = rng.integers(0, 2, n)
    units = []
    for label in labels:
        noise = rng.integers(10, 20, 6).tolist()
        units.append([*noise[:3], *((1, 2) if label else (2, 1)), *noise[3:]])
    return units, [str(label) for label in labels]


def test_order_of_neighbours_is_learnt():
    rng = np.random.default_rng(0)
    train, dev, test = (sequences(rng, n) for n in (400, 100, 100))
    floor = fit_floor(train, dev, {"test": test[0]})
    assert np.mean(floor.answers["test"] == np.array(test[1])) > 0.95
    assert (floor.scores["test"] <= 0).all()


def test_class_weights_lift_the_rare_class():
    rng = np.random.default_rng(1)
    units = [rng.integers(0, 6, 8).tolist() for _ in range(400)]
    labels = ["rare" if 0 in u and rng.random() < 0.25 else "common" for u in units]
    data = (units, labels)
    plain = fit_floor(data, data, {"test": units})
    balanced = fit_floor(data, data, {"test": units}, balance=True)
    assert (balanced.answers["test"] == "rare").sum() > (plain.answers["test"] == "rare").sum()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("corpus", "balance", "least"),
    [("speech_commands", True, 0.943), ("fluent_commands", False, 0.870)],
)
def test_floor_on_the_papers_units(shared_data, corpus, balance, least):
    folder = shared_data / "units" / corpus
    lines = dict.fromkeys((folder / "train.txt").read_text().splitlines())
    pairs = [line.split(" <s> ") for line in lines]
    rows = [([int(unit) for unit in units.split()], label) for units, label in pairs]
    train = [row for i, row in enumerate(rows) if i % 10]
    dev = rows[::10]
    scored = [line.split("|")[1:] for line in (folder / "valid.txt").read_text().splitlines()]
    floor = fit_floor(
        tuple(zip(*train, strict=True)),
        tuple(zip(*dev, strict=True)),
        {"valid": [[int(unit) for unit in units.split()] for units, _ in scored]},
        balance,
    )
    truth = np.array([label for _, label in scored])
    assert np.mean(floor.answers["valid"] == truth) >= least
