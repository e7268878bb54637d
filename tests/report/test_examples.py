"""What the overview has to listen to, and the results by class and by speaker."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pytest
import soundfile
import torch

from random_models import CODEBOOK, write_lm
from speechprompt.config.tasks import PromptSettings
from speechprompt.evaluation.predictions import read_predictions, write_predictions
from speechprompt.lm import load_lm
from speechprompt.predict.answer import write_answer
from speechprompt.prompting.decoding import predict
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.report.breakdown import by_speaker, confusions
from speechprompt.report.examples import choose_examples, choose_rows, compress
from speechprompt.report.listening import differences, read_utterances
from speechprompt.storage.parquet import read_parquet, write_parquet
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.verbalizer import Verbalizer
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units


def answered(path, references, answers, columns=("label",), kind="classification", **more):
    rows = {
        "utt_id": [f"u{i}" for i in range(len(references))],
        "reference": references,
        "prediction": answers,
        "score": -np.arange(len(references)) / 10,
        "is_repeat": [False] * len(references),
        **more,
    }
    write_predictions(path, {"test": rows}, task_type=kind, columns=columns, method="prompt")
    return read_predictions(path)


def test_errors_hits_and_random_utterances_are_chosen(tmp_path):
    references = ["a", "a", "a", "b", "b", "b", "b", "b", "b"]
    answers = ["b", "b", "b", "a", "b", "b", "b", "b", "b"]
    table = answered(tmp_path / "p.parquet", references, answers)
    chosen = choose_rows(table, 6, seed=1)
    # One of each confusion, by confidence; then the hits with the lowest scores.
    assert list(chosen.items())[:4] == [
        (0, "confident error"),
        (3, "confident error"),
        (8, "unsure hit"),
        (7, "unsure hit"),
    ]
    assert list(chosen.values())[4:] == ["random", "random"]
    assert len(choose_rows(table, 30, seed=1)) == 9
    assert list(choose_rows(table, 1, seed=1)) == [0]


def test_results_by_class_are_those_of_a_count_by_hand(tmp_path):
    references = ["a", "a", "a", "b", "b", "c"]
    answers = ["a", "b", "a", "b", "x", "a"]
    (found,) = confusions(answered(tmp_path / "p.parquet", references, answers))
    assert found.names == ["a", "b", "c"]
    assert found.answers == ["a", "b", "c", "other"]
    assert found.counts == [[2, 1, 0, 0], [0, 1, 0, 1], [1, 0, 0, 0]]
    assert [(one.precision, one.recall, one.support) for one in found.classes] == [
        (2 / 3, 2 / 3, 3),
        (1 / 2, 1 / 2, 2),
        (None, 0, 1),
    ]
    assert [one.f1 for one in found.classes] == [2 / 3, 1 / 2, 0]
    assert sorted(found.largest) == [("a", "b", 1), ("b", "other", 1), ("c", "a", 1)]


def test_every_label_column_has_its_own_confusions(tmp_path):
    columns = ("action", "object")
    table = answered(
        tmp_path / "p.parquet", ["on | lamp", "off | heat"], ["on | heat"] * 2, columns
    )
    action, thing = confusions(table)
    assert (action.column, action.counts) == ("action", [[0, 1], [0, 1]])
    assert (thing.column, thing.counts) == ("object", [[1, 0], [1, 0]])


def test_speakers_are_listed_from_the_worst(tmp_path):
    speakers = ["ann", "bob", "bob", None]
    table = answered(tmp_path / "p.parquet", list("aabb"), list("aaab"), speaker=speakers)
    assert by_speaker(table) == [("bob", 0.5, 2), ("ann", 1.0, 1), ("unknown", 1.0, 1)]
    texts = ["GO ON", "GO ON", "STOP"]
    about = {"columns": ("text",), "kind": "transcription", "speaker": ["ann", "bob", "bob"]}
    table = answered(tmp_path / "t.parquet", texts, ["GO ON", "GO", "STOP"], **about)
    assert by_speaker(table) == [("bob", 1 / 3, 2), ("ann", 0.0, 1)]
    assert by_speaker(answered(tmp_path / "n.parquet", ["a"], ["a"])) == []


def test_texts_are_compared_word_by_word():
    ours, theirs = differences("TURN THE LAMP ON", "TURN LAMP OFF")
    assert ours == [("TURN", False), ("THE", True), ("LAMP", False), ("ON", True)]
    assert theirs == [("TURN", False), ("LAMP", False), ("OFF", True)]
    assert differences("", "A") == ([], [("A", True)])


@pytest.fixture
def split(tmp_path):
    """Units, recordings and a manifest of six utterances, and predictions for them."""
    names = [f"u{i}" for i in range(6)]
    rate = 8000
    for i, name in enumerate(names):
        tone = 0.5 * np.sin(2 * np.pi * 300 * np.arange(rate // 2) / rate)
        soundfile.write(tmp_path / f"{name}.wav", tone * (i > 0), rate)
    columns = {"utt_id": names, "units": [[3, 1]] * 6, "durations": [[10, 15]] * 6}
    metadata = UnitsMetadata("book", "0" * 64, 5, True, frame_rate=50.0)
    part = tmp_path / "units/part-00000-of-00001.parquet"
    part.parent.mkdir()
    write_units(
        part, columns | {"label": list("ababab")}, label_columns=["label"], metadata=metadata
    )
    gather_units([part], part.parent / "index.json", corpus="c", split="test")
    listed = pa.table({"utt_id": names, "path": [f"{name}.wav" for name in names]})
    write_parquet(
        tmp_path / "manifest.parquet", listed.replace_schema_metadata({"root": str(tmp_path)})
    )
    answered(tmp_path / "p.parquet", list("ababab"), list("aaabbb"))
    return tmp_path


def chosen(split, **options):
    out = split / "examples.parquet"
    choose_examples(split / "p.parquet", split / "units/index.json", out, **options)
    return read_parquet(out).to_pylist()


def test_examples_have_audio_outline_and_units(split):
    rows = chosen(split, manifest=split / "manifest.parquet", examples=4)
    assert len(rows) == 4
    for row in rows:
        samples, rate = soundfile.read(io.BytesIO(row["audio"]))
        assert abs(len(samples) / rate - 0.5) < 0.05
        assert row["seconds"] == 0.5
        assert (row["units"], row["durations"]) == ([3, 1], [10, 15])
        assert max(row["peaks"]) == pytest.approx(0.0 if row["utt_id"] == "u0" else 1.0)
    (shown, *_) = read_utterances(split / "examples.parquet", n_columns=1)
    assert shown["boxes"] == [(0, 400, 3), (400, 600, 1)]
    assert shown["audio"].startswith("data:audio/")


def test_examples_may_have_no_audio(split):
    rows = chosen(split)
    assert [row["audio"] for row in rows] == [None] * 6
    assert read_utterances(split / "examples.parquet", n_columns=None)[0]["outline"] == ""


def test_audio_stays_below_the_limit(split, monkeypatch):
    monkeypatch.setattr("speechprompt.report.examples.MOST_AUDIO", 5000)
    rows = chosen(split, manifest=split / "manifest.parquet")
    sizes = [len(row["audio"] or b"") for row in rows]
    assert 0 < sum(sizes) <= 5000
    assert 0 in sizes


def test_flac_stands_in_for_opus(monkeypatch):
    monkeypatch.setattr(soundfile, "available_subtypes", lambda kind: {})
    audio, kind = compress(np.zeros(1600, np.float32))
    assert (audio[:4], kind) == (b"fLaC", "audio/flac")


@pytest.mark.parametrize("temperature", [None, 2.0])
@pytest.mark.parametrize("columns", [("label",), ("action", "place")])
def test_probabilities_are_those_that_new_audio_gets(tmp_path, columns, temperature):
    """A prompt has its temperature, or none, as where nothing was held out."""
    values = (("a", "b", "c"), ("here", "away"))[: len(columns)]
    labels = Classification(columns, values)
    lm_path, prompt = write_lm(tmp_path / "lm.safetensors"), tmp_path / "prompt.safetensors"
    lm = load_lm(lm_path)
    n_units, size = lm.dictionary.n_units, len(labels.names)
    generator = torch.Generator().manual_seed(1)
    shape = PromptSettings(length=3)
    model = TaskModel(
        *(lm, Prompt(lm.model.config, shape, generator)),
        *(Verbalizer("learnable", range(size), n_units), labels.allowed),
    )
    about = {} if temperature is None else {"temperature": temperature}
    model.save(prompt, about | {"answers": labels.state()})
    units = [[i, 3, 5 - i] for i in range(5)]
    found = predict(model, [np.array(row) for row in units])
    expected = [
        write_answer("a.wav", "t", labels, found, row, temperature or 1.0) for row in range(5)
    ]
    part = tmp_path / "units/part-00000-of-00001.parquet"
    part.parent.mkdir()
    table = {"utt_id": [f"u{i}" for i in range(5)], "units": units, "durations": [[1] * 3] * 5}
    table |= {column: [own[0]] * 5 for column, own in zip(columns, values, strict=True)}
    metadata = UnitsMetadata("book", CODEBOOK, n_units, True, frame_rate=50.0)
    write_units(part, table, label_columns=columns, metadata=metadata)
    gather_units([part], part.parent / "index.json", corpus="c", split="test")
    answers = [one.answer for one in expected]
    answered(tmp_path / "p.parquet", answers, answers, columns, score=found.scores)
    rows = chosen(tmp_path, prompt=prompt, unit_lm=lm_path)
    assert len(rows) == 5
    for row in rows:
        one = expected[int(row["utt_id"][1:])]
        assert np.exp(row["score"]) == pytest.approx(one.probability, rel=1e-4)
        if len(columns) == 1:
            shares = json.loads(row["probabilities"])
            assert shares == pytest.approx(one.probabilities, abs=1e-5)
        else:
            assert row["probabilities"] is None


def test_probabilities_are_bars(split):
    chosen(split)
    rows = read_parquet(split / "examples.parquet")
    shares = json.dumps({"a": 0.7, "b": 0.0001})
    column = rows.schema.get_field_index("probabilities")
    rows = rows.set_column(column, "probabilities", pa.array([shares] * len(rows)))
    write_parquet(split / "examples.parquet", rows)
    (shown, *_) = read_utterances(split / "examples.parquet", n_columns=1)
    assert shown["bars"] == [("a", 0.7, "0.700"), ("b", 0.0001, "<0.001")]


def test_of_several_columns_those_that_differ_are_marked(split):
    chosen(split)
    rows = read_parquet(split / "examples.parquet")
    for name, text in (("reference", "on | lights"), ("prediction", "off | lights")):
        column = rows.schema.get_field_index(name)
        rows = rows.set_column(column, name, pa.array([text] * len(rows)))
    write_parquet(split / "examples.parquet", rows)
    (shown, *_) = read_utterances(split / "examples.parquet", n_columns=2)
    assert shown["spans"] == (
        [("on", False), ("|", False), ("lights", False)],
        [("off", True), ("|", False), ("lights", False)],
    )
    assert [name for name, _, _ in shown["bars"]] == ["whole answer"]
