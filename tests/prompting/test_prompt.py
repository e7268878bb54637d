"""Prompts: the documented tensors, and parity with the literal computation in every mode."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from random_models import CODEBOOK, FORMS, examples, prompt_form, random_lm
from reference_prompt import literal_hidden, output
from speechprompt.config.tasks import PromptSettings
from speechprompt.errors import ConfigError
from speechprompt.lm import Dictionary, LMConfig, LoadedLM
from speechprompt.lm.fairseq import weights
from speechprompt.lm.packing import pack
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.tasks.verbalizer import Verbalizer

GSLM = LMConfig()
MODES = [
    ("deep", None),
    ("deep", [0, 2]),
    ("deep", [1]),
    ("input", None),
    ("both", None),
    ("both", [1]),
    ("both", [0, 2]),
    ("infix", None),
    ("infix", [1]),
    ("infix", []),
    ("query", None),
    ("front", None),
]


def task_model(mode, layers, columns, *, seed=0, end_loss=True, kind=None, form=None):
    model = random_lm(seed=seed, scale=1.5, **FORMS.get(form, {})).freeze()
    dictionary = Dictionary(range(model.config.n_symbols - 5, -1, -1))
    generator = torch.Generator().manual_seed(seed)
    settings = PromptSettings(length=3, layers=layers, dropout=0.0, **prompt_form(mode, front=4))
    prompt = Prompt(model.config, settings, generator)
    with torch.no_grad():
        for parameter in prompt.parameters():
            parameter.mul_(5)
    n_labels = max(map(max, columns)) + 1
    rows = 1 + prompt.n_positions
    units = range(3, 3 + n_labels)
    verbalizer = Verbalizer(kind or "frequency", units, dictionary.n_units, rows)
    lm = LoadedLM(model, dictionary, "lm", CODEBOOK, {})
    return TaskModel(lm, prompt, verbalizer, columns, end_loss=end_loss)


def literal_losses(task, data, parameters):
    """Summed cross-entropy of label tokens and the end, by the literal computation."""
    named = {name: tensor.double() for name, tensor in weights(task.model).items()}
    prompt, dictionary = task.prompt, task.dictionary
    keys = dict(zip(prompt.layers, parameters.get("keys", []), strict=True))
    values = dict(zip(prompt.layers, parameters.get("values", []), strict=True))
    total = 0.0
    for units, labels in zip(data.units, data.labels, strict=True):
        answer = [int(dictionary.ids([task.verbalizer.units[label]])[0]) for label in labels]
        tokens = [2, *dictionary.ids(units).tolist(), 0, *answer]
        config, separator = task.model.config, parameters["separator"]
        place = len(units) + 1 if prompt.mode in ("infix", "query") else 0
        if prompt.mode == "query":
            query, front = (parameters["rows"], parameters["shifts"]), (None, keys, values)
            front = front if prompt.front else None
            hidden = literal_hidden(named, config, tokens, front, place, separator, query=query)
        else:
            rows = (parameters.get("rows"), keys, values)
            hidden = literal_hidden(named, config, tokens, rows, place, separator)
        targets = [*answer, 2] if task.end_loss else answer
        start = prompt.front + prompt.length + len(units) + 1
        logits = hidden[start : start + len(targets)] @ output(named).T
        total = total + F.cross_entropy(logits, torch.tensor(targets), reduction="sum")
    return total


@pytest.mark.parametrize(("mode", "layers"), MODES)
@pytest.mark.parametrize("end_loss", [True, False])
def test_loss_and_gradients_equal_the_literal_computation(mode, layers, end_loss):
    check_loss_and_gradients(mode, layers, end_loss=end_loss)


@pytest.mark.parametrize(("mode", "layers"), MODES)
@pytest.mark.parametrize("form", FORMS)
def test_other_architectures_equal_the_literal_computation(form, mode, layers):
    # Without a final norm, numbers of 32 bits are rounded more.
    check_loss_and_gradients(mode, layers, 3e-5 if form == "opt-350m" else 1e-5, form=form)


def check_loss_and_gradients(mode, layers, tolerance=1e-5, **form):
    columns = [[0, 1, 2], [3, 4], [5, 6, 7]]
    task = task_model(mode, layers, columns, **form)
    data = examples(10, columns)
    loss = task.loss(data.units, data.labels, task.prompt_tensors())
    loss.total.backward()
    parameters = {
        name: p.detach().double().requires_grad_() for name, p in task.prompt.named_parameters()
    }
    expected = literal_losses(task, data, parameters)
    expected.backward()
    assert loss.total.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, parameter in task.prompt.named_parameters():
        want = parameters[name].grad
        if name == "rows" and mode in ("both", "infix") and layers is None:
            # Deep rows in every layer: the input rows cannot reach the output.
            assert parameter.grad is None
            assert want is None or want.abs().max() == 0
            continue
        error = (parameter.grad - want).abs().max()
        assert error <= tolerance * want.abs().max(), name
        assert want.abs().max() > 0


@pytest.mark.parametrize("mode", ["deep", "query", "front"])
@pytest.mark.parametrize("form", [None, "qwen2"])
def test_a_learnable_verbalizer_reads_all_columns_at_once(mode, form):
    """Loss and gradients against layers that are written out, with the literal hidden states."""
    columns = [[0, 1, 2], [3, 4], [5, 6, 7]]
    task = task_model(mode, None, columns, kind="learnable", form=form)
    with torch.no_grad():
        task.verbalizer.weight += torch.randn(task.verbalizer.weight.shape)
    data = examples(10, columns)
    loss = task.loss(data.units, data.labels, task.prompt_tensors())
    loss.total.backward()
    p = {n: t.detach().double().requires_grad_() for n, t in task.named_parameters().items()}
    named = {name: tensor.double() for name, tensor in weights(task.model).items()}
    unit_ids = task.dictionary.ids(range(20))
    total, right = 0.0, []
    for units, labels in zip(data.units, data.labels, strict=True):
        tokens, place = [2, *task.dictionary.ids(units).tolist(), 0], len(units) + 1
        config = task.model.config
        rows = (None, dict(enumerate(p.get("keys", []))), dict(enumerate(p.get("values", []))))
        if task.prompt.mode == "query":
            query, front = (p["rows"], p["shifts"]), rows if mode == "front" else None
            read = literal_hidden(named, config, tokens, front, place, p["separator"], query=query)
            read = read[task.prompt.front + place :]
        else:
            read = literal_hidden(named, config, tokens, rows, 0, p["separator"])[-1:]
        scores = (read @ output(named)[unit_ids].T).flatten()
        found = p["verbalizer.weight"] @ scores
        guesses = []
        for column, label in zip(columns, labels, strict=True):
            target = torch.tensor([column.index(label)])
            total = total + F.cross_entropy(found[column][None], target, reduction="sum")
            guesses.append(column[int(found[column].argmax())])
        right.append(guesses == labels)
    total.backward()
    assert loss.total.item() == pytest.approx(total.item(), rel=1e-5)
    assert loss.n_tokens == 3 * len(data)
    assert loss.correct.tolist() == right
    for name, parameter in task.named_parameters().items():
        error = (parameter.grad - p[name].grad).abs().max()
        assert error <= 2e-5 * p[name].grad.abs().max(), name
        assert p[name].grad.abs().max() > 0


@pytest.mark.parametrize(("front", "form"), [(0, None), (4, None), (0, "qwen2"), (4, "qwen2")])
def test_a_learnable_verbalizer_writes_with_two_tables(front, form):
    """Loss and gradients of generated answers, whose labels are read as mixtures of units."""
    lm = task_model("query", None, [[7]], form=form).lm
    settings = PromptSettings(length=3, mode="query", front=front)
    prompt = Prompt(lm.model.config, settings, torch.Generator().manual_seed(0), n_written=8)
    verbalizer = Verbalizer("learnable", range(3, 11), 20, writes=True)
    with torch.no_grad():
        for parameter in (*prompt.parameters(), *verbalizer.parameters()):
            parameter += 0.3 * torch.randn(parameter.shape)
    task = TaskModel(lm, prompt, verbalizer, None)
    data = examples(10, [range(8)] * 3)
    loss = task.loss(data.units, data.labels, task.prompt_tensors())
    loss.total.backward()
    p = {n: t.detach().double().requires_grad_() for n, t in task.named_parameters().items()}
    named = {name: tensor.double() for name, tensor in weights(task.model).items()}
    embeddings = named["embed_tokens.weight"]
    unit_ids = task.dictionary.ids(range(20)).tolist()
    total, right = 0.0, []
    for source, labels in zip(data.units, data.labels, strict=True):
        tokens, place = [2, *task.dictionary.ids(source).tolist(), 0, *labels], len(source) + 1
        rows = (None, dict(enumerate(p.get("keys", []))), dict(enumerate(p.get("values", []))))
        hidden = literal_hidden(
            named,
            task.model.config,
            tokens,
            rows if front else None,
            place,
            p["separator"],
            query=(p["rows"], p["shifts"]),
            mixed=p["verbalizer.inputs"][labels] @ embeddings[unit_ids],
            label_shifts=p["label_shifts"][:, labels],
        )[front + place + task.prompt.length :]
        scores = hidden @ output(named)[[*unit_ids, 2]].T @ p["verbalizer.weight"].T
        target = torch.tensor([*labels, 8])
        total = total + F.cross_entropy(scores, target, reduction="sum")
        right.append(bool((scores.argmax(1) == target).all()))
    total.backward()
    assert loss.total.item() == pytest.approx(total.item(), rel=1e-5)
    assert loss.correct.tolist() == right
    for name, parameter in task.named_parameters().items():
        error = (parameter.grad - p[name].grad).abs().max()
        assert error <= 2e-5 * p[name].grad.abs().max(), name
    assert task.named_parameters().keys() >= {"shifts", "label_shifts", "verbalizer.inputs"}


def test_every_label_that_is_written_has_shifts_which_start_at_zero():
    def prompt(mode, n_written, dropout=0.0):
        settings = PromptSettings(length=6, mode=mode, dropout=dropout)
        return Prompt(GSLM, settings, torch.Generator().manual_seed(1), n_written)

    plain, writing = prompt("query", 0), prompt("query", 30)
    assert torch.equal(writing.label_shifts, torch.zeros(12, 30, 1024))
    for name, parameter in plain.named_parameters():
        assert torch.equal(parameter, writing.get_parameter(name))
    counts = [sum(p.numel() for p in each.parameters()) for each in (plain, writing)]
    assert counts[1] - counts[0] == 12 * 30 * 1024
    assert plain.tensors().label_shifts is None
    assert "label_shifts" not in prompt("deep", 30).state_dict()
    dropping = prompt("query", 30, dropout=0.1)
    with torch.no_grad():
        dropping.label_shifts += 1
    dropped = dropping.tensors(3).label_shifts
    assert 0.09 < (dropped == 0).float().mean() < 0.11
    assert torch.equal(dropped[dropped != 0], torch.full_like(dropped[dropped != 0], 1 / 0.9))


@pytest.mark.parametrize(
    ("mode", "layers", "length", "count"),
    [
        ("both", None, 6, 154_624),  # the published log
        ("deep", None, 6, 2 * 12 * 6 * 1024 + 1024),
        ("input", None, 6, 6 * 1024 + 1024),
        ("deep", [3, 7], 5, 2 * 2 * 5 * 1024 + 1024),
        ("infix", None, 6, 154_624),
        ("infix", [], 6, 6 * 1024 + 1024),
        ("query", None, 6, 6 * 1024 + 12 * 7 * 1024 + 1024),
        ("front", None, 6, 6 * 1024 + 12 * 7 * 1024 + 1024 + 2 * 12 * 5 * 1024),
    ],
)
def test_trainable_parameters_are_the_documented_number(mode, layers, length, count):
    settings = PromptSettings(length=length, layers=layers, **prompt_form(mode, front=5))
    prompt = Prompt(GSLM, settings)
    assert sum(p.numel() for p in prompt.parameters()) == count
    assert all(p.dtype == torch.float32 and p.requires_grad for p in prompt.parameters())


@pytest.mark.parametrize(
    ("mode", "names"),
    [
        ("deep", {"separator", "keys", "values"}),
        ("input", {"separator", "rows"}),
        ("both", {"separator", "rows", "keys", "values"}),
        ("infix", {"separator", "rows", "keys", "values"}),
        ("query", {"separator", "rows", "shifts"}),
        ("front", {"separator", "rows", "shifts", "keys", "values"}),
    ],
)
def test_trained_and_saved_tensors_are_the_documented_set(mode, names):
    task = task_model(mode, None, [[0, 1]])
    assert task.named_parameters().keys() == names
    assert task.state().keys() == names
    assert not any(p.requires_grad for p in task.model.parameters())


def test_dropout_follows_its_seed_and_keeps_the_mean():
    prompt = Prompt(LMConfig(24, 2, 2, 64, 64), PromptSettings(length=50, dropout=0.1))
    plain, again, other = prompt.tensors(), prompt.tensors(3), prompt.tensors(4)
    assert torch.equal(again.keys[1], prompt.tensors(3).keys[1])
    assert not torch.equal(again.keys[1], other.keys[1])
    dropped = again.keys[1] == 0
    assert 0.08 < dropped.float().mean() < 0.12
    kept = again.keys[1][~dropped]
    assert torch.allclose(kept, plain.keys[1][~dropped] / 0.9)
    assert torch.equal(again.separator, prompt.separator)


def test_initial_rows_follow_the_generator():
    def rows(seed):
        generator = torch.Generator().manual_seed(seed)
        return Prompt(LMConfig(24, 2, 2, 64, 64), PromptSettings(length=4), generator).keys

    assert torch.equal(rows(1), rows(1))
    assert not torch.equal(rows(1), rows(2))


@pytest.mark.parametrize("form", [None, *FORMS])
def test_layer_inputs_are_those_of_the_literal_computation(form):
    model = random_lm(**FORMS.get(form, {})).freeze()
    named = {name: tensor.double() for name, tensor in weights(model).items()}
    sequences = [np.array([2, 5, 9, 4]), np.array([2, 7])]
    batch = pack(sequences)
    inputs = model.layer_inputs(batch)
    assert inputs.shape == (4, len(batch.tokens), 32)
    found = inputs[:, batch.spread.index.view(2, -1)[0]].double()
    trace = []
    literal_hidden(named, model.config, [2, 5, 9, 4], trace=trace)
    for ours, expected in zip(found, trace, strict=True):
        assert torch.allclose(ours, expected, atol=1e-5)


def test_a_prompt_can_start_as_hidden_rows():
    prompt = Prompt(
        LMConfig(24, 3, 2, 32, 64), PromptSettings(length=5, mode="both", layers=[0, 2])
    )
    inputs = torch.arange(4.0)[:, None, None] * 100 + torch.arange(7.0)[:, None].expand(7, 32)
    prompt.start_from(inputs, torch.Generator().manual_seed(0))
    chosen = prompt.rows[:, 0].detach()
    assert set(chosen.tolist()) <= set(range(7))
    assert torch.equal(prompt.keys[:, :, 0].detach(), torch.stack((chosen + 100, chosen + 300)))
    assert torch.equal(prompt.keys, prompt.values)


def test_rows_in_front_start_as_hidden_rows_of_their_own():
    prompt = Prompt(LMConfig(24, 3, 2, 32, 64), PromptSettings(length=2, mode="query", front=5))
    inputs = torch.arange(4.0)[:, None, None] * 100 + torch.arange(7.0)[:, None].expand(7, 32)
    prompt.start_from(inputs, torch.Generator().manual_seed(0))
    assert prompt.keys.shape == (3, 5, 32)
    chosen = prompt.keys[0, :, 0].detach() - 100
    assert set(chosen.tolist()) <= set(range(7))
    layers = torch.tensor([100.0, 200, 300])[:, None]
    assert torch.equal(prompt.keys[:, :, 0].detach(), chosen + layers)
    assert torch.equal(prompt.keys, prompt.values)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": [0, 12]}, r"layers 0\.\.11, found 12"),
        ({"layers": []}, "needs at least one layer"),
    ],
)
def test_impossible_prompts_are_refused(options, message):
    with pytest.raises(ConfigError, match=message):
        Prompt(GSLM, PromptSettings(length=3, **options))
