"""Decoding: alone or in a batch, with or without cache, one beam or many."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch

from random_models import CODEBOOK, FORMS, prompt_form, random_lm, random_units
from speechprompt.config.tasks import DecodingSettings, PromptSettings
from speechprompt.errors import ConfigError, CorpusError
from speechprompt.lm import Dictionary, LoadedLM
from speechprompt.lm.cache import Cache
from speechprompt.lm.packing import pack
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.tasks.verbalizer import Verbalizer

ONE = [[0, 1, 2, 3]]
THREE = [[0, 1, 2], [3, 4], [5, 6, 7]]
UNITS = random_units(11)


def task_model(allowed, mode="deep", layers=None, kind="frequency", n_labels=8, seed=0, form=None):
    model = random_lm(seed=seed, scale=1.5, **FORMS.get(form, {})).freeze()
    dictionary = Dictionary(range(19, -1, -1))
    prompt = None
    writes = kind == "learnable" and allowed is None
    if mode is not None:
        generator = torch.Generator().manual_seed(seed)
        settings = PromptSettings(length=2, layers=layers, **prompt_form(mode))
        prompt = Prompt(model.config, settings, generator, n_labels if writes else 0)
        with torch.no_grad():
            for parameter in prompt.parameters():
                parameter.mul_(5)
            if writes:
                prompt.label_shifts.normal_(0, 2, generator=generator)
    lm = LoadedLM(model, dictionary, "lm", CODEBOOK, {})
    rows = 1 + (prompt.n_positions if prompt and not writes else 0)
    verbalizer = Verbalizer(kind, range(2, 2 + n_labels), 20, rows, writes)
    with torch.no_grad():
        for parameter in verbalizer.parameters():
            parameter += torch.randn(parameter.shape, generator=torch.Generator().manual_seed(seed))
    return TaskModel(lm, prompt, verbalizer, allowed)


def decode(task, units, utt_ids=None, **settings):
    return predict(task, units, DecodingSettings(**settings), utt_ids=utt_ids)


@torch.no_grad()
def symbol_behind_query_rows(task, units, symbols):
    """The best symbol behind others, which are read at once, and its log-probability."""
    prompt, model = task.prompt_tensors(), task.model
    cache = Cache(room=task.prompt.length + 1 + len(symbols))
    sentence = task.dictionary.sentence(units)[:-1]
    model(pack([sentence], [len(sentence) - 1]), cache=cache)
    read = [prompt.separator if symbol == 0 else model.embed[symbol] for symbol in symbols]
    x = torch.cat((prompt.rows, torch.stack([prompt.separator, *read])))
    shifts = [prompt.shifts, prompt.shifts[:, -1:].expand(-1, len(symbols), -1)]
    hidden = model.extend(x[None], cache, torch.cat(shifts, dim=1))
    best = model.logits(hidden[0, -1]).log_softmax(0).max(0)
    return int(best.indices), float(best.values)


def test_free_decoding_goes_on_behind_query_rows():
    task = task_model(THREE, "query")
    units_of = {int(id_): label for label, id_ in enumerate(task.label_ids)}
    found = decode(task, UNITS, free=True)
    for i, units in enumerate(UNITS):
        symbols, total = [], 0.0
        while len(symbols) < 3:
            best, score = symbol_behind_query_rows(task, units, symbols)
            total += score
            if best == 2:
                break
            symbols.append(best)
        assert found.labels[i] == [units_of.get(symbol, -1) for symbol in symbols]
        assert found.scores[i] == pytest.approx(total, abs=1e-4)


@torch.no_grad()
def answer_log_probabilities(task, units, answer):
    """Log-probability of each symbol after an answer's beginning, by a full computation."""
    if task.prompt is not None and task.prompt.mode == "query":
        task.end_loss = True  # which reads the whole answer
        hidden = task.read([units], task.prompt_tensors(), [list(answer)]).hidden[-1:]
        return task.answer_scores(hidden, torch.tensor([len(answer)]))[0].numpy()
    (slots,), _, _ = task.slots([units], [answer])
    rows = task.prompt is not None and task.prompt.has_live_rows
    batch = pack([slots], [len(slots) - 1], rows)
    hidden = task.model(batch, task.prompt_tensors())
    return task.answer_scores(hidden, torch.tensor([len(answer)]))[0].numpy()


def greedy_without_cache(task, units, steps):
    answer, score = [], 0.0
    for _ in range(steps):
        table = answer_log_probabilities(task, units, answer)
        score += table.max()
        if table.argmax() == len(task.label_ids):
            break
        answer.append(int(table.argmax()))
    return answer, score


MODES = [
    ("deep", None),
    ("deep", [1]),
    ("input", None),
    ("both", [0]),
    ("infix", [1]),
    ("query", None),
    ("front", None),
    (None, None),
]


@pytest.mark.parametrize(("mode", "layers"), MODES)
@pytest.mark.parametrize("allowed", [ONE, THREE, None])
def test_greedy_with_cache_equals_greedy_without(mode, layers, allowed):
    check_greedy(allowed, mode, layers)


@pytest.mark.parametrize(("mode", "layers"), MODES)
@pytest.mark.parametrize("form", FORMS)
def test_other_architectures_use_the_cache_likewise(mode, layers, form):
    check_greedy(None, mode, layers, form=form)


def check_greedy(allowed, mode, layers, **form):
    task = task_model(allowed, mode, layers, **form)
    steps = 5 if allowed is None else len(allowed)
    found = decode(task, UNITS, max_length=5)
    for i, units in enumerate(UNITS):
        answer, score = greedy_without_cache(task, units, steps)
        assert found.labels[i] == answer
        assert found.scores[i] == pytest.approx(score, abs=1e-4)


def test_a_learnable_verbalizer_writes_like_a_full_computation():
    task = task_model(None, "query", kind="learnable")
    found = decode(task, UNITS, max_length=5)
    for i, units in enumerate(UNITS):
        with torch.no_grad():
            answer, score = greedy_without_cache(task, units, 5)
        assert found.labels[i] == answer
        assert found.scores[i] == pytest.approx(score, abs=1e-4)
    assert len(set(map(tuple, found.labels))) > 1
    with torch.no_grad():
        task.prompt.label_shifts.zero_()
    assert decode(task, UNITS, max_length=5).labels != found.labels


def test_a_beam_that_writes_has_the_probabilities_of_a_full_computation():
    task = task_model(None, "query", kind="learnable")
    found = decode(task, UNITS, beam=3, max_length=5)
    for i, units in enumerate(UNITS):
        answer, score = found.labels[i], 0.0
        with torch.no_grad():
            for k in range(min(len(answer) + 1, 5)):
                table = answer_log_probabilities(task, units, answer[:k])
                score += table[answer[k] if k < len(answer) else -1]
        assert found.scores[i] == pytest.approx(score, abs=1e-4)
    greedy = decode(task, UNITS, max_length=5)
    assert found.labels != greedy.labels


@pytest.mark.parametrize("mode", ["deep", "query", "front"])
@pytest.mark.parametrize("beam", [1, 3])
def test_a_learnable_verbalizer_answers_every_column_from_what_it_reads_once(mode, beam):
    task = task_model(THREE, mode, kind="learnable")
    found = decode(task, UNITS, beam=beam)
    for i, units in enumerate(UNITS):
        with torch.no_grad():
            hidden = task.read([units], task.prompt_tensors()).hidden
            tables = [task.answer_scores(hidden, torch.tensor([c]))[0] for c in range(3)]
        assert found.labels[i] == [int(table.argmax()) for table in tables]
        assert found.scores[i] == pytest.approx(sum(float(t.max()) for t in tables), abs=1e-4)
    assert found.valid.all()
    assert len(set(found.scores.round(3))) > 1


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("deep", "frequency"),
        ("query", "frequency"),
        ("query", "learnable"),
        ("front", "learnable"),
    ],
)
@pytest.mark.parametrize("allowed", [ONE, THREE, None])
@pytest.mark.parametrize(("beam", "form"), [(1, None), (3, None), (3, "qwen2")])
def test_a_batch_equals_its_utterances_one_by_one(mode, kind, allowed, beam, form):
    task = task_model(allowed, mode, kind=kind, form=form)
    together = decode(task, UNITS, beam=beam, max_length=6)
    for i, units in enumerate(UNITS):
        alone = decode(task, [units], beam=beam, max_length=6)
        assert alone.labels[0] == together.labels[i]
        assert alone.scores[0] == pytest.approx(together.scores[i], abs=1e-4)


@pytest.mark.parametrize("allowed", [THREE, None])
def test_beam_one_equals_greedy(allowed):
    from speechprompt.prompting.search import search_beam, search_greedily

    task = task_model(allowed)
    steps = 3 if allowed else 6
    batch = task.pack(UNITS)
    with torch.no_grad():
        answers = []
        beam_of_one = partial(search_beam, beam=1, length_penalty=1.0)
        for search in (search_greedily, beam_of_one):
            cache = Cache(room=steps)
            hidden = task.model(batch, task.prompt_tensors(), cache)[batch.wanted_query[:, 0]]
            limits = torch.full((len(UNITS),), steps)
            answers.append(search(task, hidden, cache, limits).to_lists())
    assert answers[0][0] == answers[1][0]
    assert np.allclose(answers[0][1], answers[1][1], atol=1e-4)


def test_a_wide_beam_finds_the_best_answer_of_all():
    task = task_model(THREE, seed=1)
    found = decode(task, UNITS, beam=9)
    greedy = decode(task, UNITS)
    for i, units in enumerate(UNITS):
        scores = {}
        for answer in itertools.product(*THREE):
            scores[answer] = sum(
                answer_log_probabilities(task, units, answer[:k])[answer[k]] for k in range(3)
            )
        best = max(scores, key=scores.get)
        assert tuple(found.labels[i]) == best
        assert found.scores[i] == pytest.approx(scores[best], abs=1e-4)
        assert found.scores[i] >= greedy.scores[i] - 1e-4
    assert found.labels != greedy.labels


def test_every_label_of_a_column_is_allowed_and_no_other():
    task = task_model(THREE)
    for seed in range(3):
        for answer in decode(task_model(THREE, seed=seed), UNITS).labels:
            assert [label in column for label, column in zip(answer, THREE, strict=True)] == [
                True
            ] * 3
    table = np.exp(answer_log_probabilities(task, UNITS[0], [0]))
    assert table[3:5].sum() == pytest.approx(1, abs=1e-5)
    assert (table[3:5] > 0).all()


@pytest.mark.parametrize("kind", ["frequency", "learnable"])
def test_one_column_gives_the_whole_distribution(kind):
    task = task_model(ONE, kind=kind, n_labels=4)
    found = decode(task, UNITS)
    assert found.label_scores.shape == (len(UNITS), 4)
    assert np.allclose(np.exp(found.label_scores).sum(1), 1, atol=1e-5)
    assert [[int(i)] for i in found.label_scores.argmax(1)] == found.labels
    assert np.allclose(found.label_scores.max(1), found.scores)
    assert found.valid.all()


def test_generation_stops_at_its_longest_answer_not_counting_the_source():
    task = task_model(None)
    lengths = {len(answer) for answer in decode(task, UNITS, max_length=4).labels}
    assert max(lengths) == 4
    long = decode(task, [np.arange(20)] * 2, max_length=4).labels
    assert all(len(answer) <= 4 for answer in long)


@pytest.mark.parametrize(("beam", "free"), [(1, False), (3, False), (1, True)])
def test_an_answer_ends_where_the_positions_do(beam, free):
    task = task_model(None, seed=2)
    longest = task.model.config.max_positions  # 128
    rng = np.random.default_rng(5)
    units = [rng.integers(0, 20, n) for n in (longest - 2, longest - 4, longest - 7, 3)]
    with_room = decode(task, units, beam=beam, free=free, max_length=9)
    for row, answer in zip(units, with_room.labels, strict=True):
        assert len(answer) <= min(9, longest - 1 - len(row))
        # Its own room counts, not that of the others in the batch.
        alone = decode(task, [row], beam=beam, free=free, max_length=9)
        assert alone.labels == [answer]
    assert len(with_room.labels[0]) == 1 or not with_room.labels[0]
    with pytest.raises(CorpusError, match="'long': its 127 units leave no room"):
        decode(task, [np.zeros(127, int)], beam=beam, free=free, utt_ids=["long"])
    with pytest.raises(CorpusError, match="no room"):
        decode(task_model(THREE), [np.zeros(126, int)])


def test_free_decoding_uses_the_whole_vocabulary_and_tells_what_is_valid():
    task = task_model(THREE)
    found = decode(task, UNITS, free=True)
    units_of = {int(id_): label for label, id_ in enumerate(task.label_ids)}
    for i, units in enumerate(UNITS):
        (slots,), _, _ = task.slots([units])
        expected = []
        for _ in range(3):
            batch = pack([slots], [len(slots) - 1])
            with torch.no_grad():
                best = int(task.model.logits(task.model(batch, task.prompt_tensors())).argmax())
            if best == 2:
                break
            expected.append(units_of.get(best, -1))
            slots = np.append(slots, best)
        assert found.labels[i] == expected
        right = len(expected) == 3 and all(a in c for a, c in zip(expected, THREE, strict=True))
        assert found.valid[i] == right
    assert not found.valid.all()


def test_free_refuses_what_it_cannot_do():
    with pytest.raises(ConfigError, match="free"):
        decode(task_model(ONE, kind="learnable", n_labels=4), UNITS, free=True)
    with pytest.raises(ConfigError, match="free"):
        decode(task_model(THREE), UNITS, free=True, beam=2)


def test_nothing_to_decode_gives_nothing():
    found = decode(task_model(ONE), [])
    assert found.labels == []
    assert found.label_scores.shape == (0, 8)


@pytest.mark.parametrize(
    ("allowed", "options"),
    [
        (ONE, {}),
        (ONE, {"kind": "learnable", "mode": "query"}),
        (THREE, {"kind": "learnable", "mode": "query"}),
    ],
)
def test_renditions_are_answered_by_the_mean_of_log_probabilities(allowed, options):
    task = task_model(allowed, **options)
    played = [[UNITS[i - 1], UNITS[i - 2]] if i % 3 else [] for i in range(len(UNITS))]
    alone = predict(task, UNITS).label_scores
    found = predict(task, UNITS, renditions=played)
    for i in range(len(UNITS)):
        rows = [i, i - 1, i - 2] if i % 3 else [i]
        mean = torch.from_numpy(alone[rows]).mean(0)
        for column, label in zip(allowed, found.labels[i], strict=True):
            expected = mean[column].log_softmax(0)
            assert label == column[int(expected.argmax())]
            np.testing.assert_allclose(found.label_scores[i, column], expected, atol=1e-5)
        best = sum(found.label_scores[i, column].max() for column in allowed)
        assert found.scores[i] == pytest.approx(best)
    assert found.valid.all()


def test_a_rendition_that_is_too_long_is_left_out():
    task = task_model(ONE)
    long = np.arange(task.model.config.max_positions) % 20
    found = predict(task, UNITS[:2], renditions=[[long], [UNITS[3]]])
    expected = predict(task, UNITS[:2], renditions=[[], [UNITS[3]]])
    assert found.label_scores.tolist() == expected.label_scores.tolist()


@pytest.mark.parametrize("allowed", [None, THREE])
def test_answers_in_steps_are_to_the_recording_alone(allowed):
    task = task_model(allowed)
    settings = DecodingSettings(max_length=4)
    found = predict(task, UNITS, settings, renditions=[[units[::-1]] for units in UNITS])
    expected = predict(task, UNITS, settings)
    assert found.labels == expected.labels
    assert found.scores.tolist() == expected.scores.tolist()
