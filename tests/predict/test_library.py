"""The library as a program uses it; docs/library.md is run from its own text."""

import io
import re

import numpy as np
import pytest
import soundfile
import torch
from torch.utils.data import DataLoader

import speechprompt
from small_run import RATE, record, sound
from speechprompt.audio.reading import AudioError
from speechprompt.audio.waveforms import as_waveform
from speechprompt.errors import ArtefactError, ConfigError, ConfigErrors, CorpusError
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units

SPLIT = "results/units/nano100/keywords/train"


@pytest.fixture
def workplace(copied, monkeypatch):
    """What docs/library.md expects in the working directory."""
    for i, word in enumerate(("yes", "no")):
        record(copied / "words" / word, 3, start=10 * i)
    soundfile.write(copied / "yes.wav", sound(1), RATE)
    part = copied / SPLIT / "part-00000-of-00001.parquet"
    part.parent.mkdir(parents=True)
    rows = {
        "utt_id": ["a", "b", "c"],
        "units": [[1, 2], [3], [4, 5, 6]],
        "durations": [[1, 1], [3], [1, 2, 1]],
        "n_frames": [2, 3, 4],
        "label": ["yes", "no", "yes"],
    }
    metadata = UnitsMetadata("nano100", "0" * 64, 100, True)
    write_units(part, rows, label_columns=["label"], metadata=metadata)
    gather_units([part], part.with_name("index.json"), corpus="keywords", split="train")
    monkeypatch.chdir(copied)
    return copied


def test_the_page_runs_from_its_own_text(workplace, repository, capsys):
    text = (repository / "docs/library.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) == text.count("```python") >= 7
    names: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "docs/library.md", "exec"), names)
    said = capsys.readouterr().out
    assert "<Answer yes.wav, ks: " in said
    assert "expected the sample rate of the samples" in said
    assert "<Encoder: hubert, layer 4, 100 units, 50 frames/s>" in said
    assert "<Task mine: classification with 2 labels, " in said
    assert "results/kss: expected the folder of a task" in said


def test_audio_in_any_form_has_the_same_answer(workplace):
    predictor = speechprompt.load_predictor("results/ks")
    (expected,) = predictor.predict("yes.wav")
    samples, _ = soundfile.read("yes.wav", dtype="int16")
    forms = [
        samples,
        samples.astype(np.float64) / 2**15,
        torch.from_numpy(samples),
        (samples.astype(np.float32) / 2**15).tolist(),
        np.stack([samples, samples]),
        np.stack([samples, samples], axis=1),
        torch.from_numpy(samples)[None],
    ]
    for audio in [*forms, io.BytesIO((workplace / "yes.wav").read_bytes())]:
        (answer,) = predictor.predict(audio, RATE)
        assert answer.score == pytest.approx(expected.score, abs=1e-4)
        assert answer.file == "waveform"
    several = predictor.predict([samples, "yes.wav", torch.from_numpy(samples)], RATE)
    assert [answer.answer for answer in several] == [expected.answer] * 3


@pytest.mark.parametrize(
    ("audio", "rate", "expected"),
    [
        (np.zeros(100), None, "expected the sample rate"),
        (np.zeros(100), 0, "expected a rate of 1 to"),
        (np.zeros(100), "8k", "expected a rate of 1 to"),
        (np.zeros(0), 8000, "empty: no samples"),
        (np.full(100, np.nan), 8000, "not finite"),
        (np.zeros((100, 200)), 8000, "rows of channels, found 100 x 200"),
        (np.zeros((2, 3, 4)), 8000, "rows of channels, found 2 x 3 x 4"),
        (torch.zeros(100, dtype=torch.int64), 8000, "int64, whose full scale is not known"),
        ([0, 1, 2] * 40, 8000, "int64, whose full scale is not known"),
        (torch.zeros(100).to_sparse(), 8000, "expected a path, a file, an array or a tensor"),
        (np.zeros(100, complex), 8000, "expected a path, a file, an array or a tensor"),
        (np.array("abc"), 8000, "expected a path, a file, an array or a tensor"),
        (np.zeros(401 * 100, np.float32), 100, "401 s long"),
        (io.BytesIO(b"no audio"), None, "not audio that libsndfile reads"),
    ],
)
def test_audio_that_cannot_be_used_is_an_error(audio, rate, expected, run):
    with pytest.raises(AudioError, match=expected):
        as_waveform(audio, rate)
    if hasattr(audio, "seek"):
        audio.seek(0)
    (answer,) = speechprompt.load_predictor(run / "results/ks").predict(audio, rate)
    assert expected in answer.error


def test_a_file_object_is_checked_as_a_file_is():
    file = io.BytesIO()
    soundfile.write(file, sound(1), RATE, format="FLAC")
    content = file.getvalue()
    for wrong, expected in ((content[:5000], "truncated"), (content * 2, "read in part only")):
        with pytest.raises(AudioError, match=expected):
            as_waveform(io.BytesIO(wrong))


def test_integers_have_the_full_scale_of_their_type():
    assert as_waveform(np.array([0, 128, 255], np.uint8), 16000).tolist() == [-1, 0, 127 / 128]
    assert as_waveform(np.array([-(2**31)], np.int32), 16000).tolist() == [-1]


def test_a_tensor_of_half_precision_is_audio():
    assert as_waveform(torch.tensor([0.5, -1.0], dtype=torch.bfloat16), 16000).tolist() == [0.5, -1]


@pytest.mark.parametrize("device", ["gpu", 0])
def test_an_unknown_device_is_named(device, workplace):
    for load in (speechprompt.load_predictor, speechprompt.load_encoder):
        with pytest.raises(ConfigError, match=f"expected auto, cpu or cuda, found {device!r}"):
            load("results/ks", device=device)


def test_the_encoder_of_a_task_gives_its_units(workplace):
    encoder = speechprompt.load_encoder("results/ks")
    predictor = speechprompt.load_predictor("results/ks")
    (units,) = predictor.units.values()
    found = encoder.encode("yes.wav")
    assert (found.units == units.encode(sound(1), RATE).units).all()
    assert found.times[-1, 1] == pytest.approx(found.n_frames / encoder.frame_rate)
    assert (found.times[1:, 0] == found.times[:-1, 1]).all()
    assert len(repr(found)) < 80
    with pytest.raises(AudioError):
        encoder.encode("no.wav")


def test_units_as_a_data_frame_and_as_a_dataset(workplace):
    frame = speechprompt.load_units(SPLIT)
    assert frame["units"].map(list).tolist() == [[1, 2], [3], [4, 5, 6]]
    assert list(speechprompt.load_units(f"{SPLIT}/index.json", ["label"])) == ["label"]
    assert len(speechprompt.load_units(f"{SPLIT}/part-00000-of-00001.parquet")) == 3
    data = speechprompt.UnitsDataset(SPLIT, label="label")
    assert data.classes == ["no", "yes"]
    (batch,) = DataLoader(data, batch_size=3, collate_fn=data.collate)
    assert batch["units"].tolist() == [[1, 2, -1], [3, -1, -1], [4, 5, 6]]
    assert batch["lengths"].tolist() == [2, 1, 3]
    assert batch["labels"].tolist() == [1, 0, 1]
    assert "labels" not in data.collate([speechprompt.UnitsDataset(SPLIT)[0]])
    for call, expected in (
        (lambda: speechprompt.load_units("nowhere"), "nowhere: expected the folder of a split"),
        (lambda: speechprompt.load_units(SPLIT, ["lable"]), "no column 'lable'; did you mean"),
        (lambda: speechprompt.UnitsDataset(SPLIT, "label", ["yes"]), "'no' is none of the classes"),
    ):
        with pytest.raises(ArtefactError, match=expected):
            call()


def test_what_cannot_be_trained_on_is_an_error(workplace):
    with pytest.raises(ConfigError, match="two labels or more"):
        speechprompt.train_prompt({"yes": "words/yes"}, "out")
    with pytest.raises(CorpusError, match="label 'no' has no recordings"):
        speechprompt.train_prompt({"yes": "words/yes", "no": []}, "out")
    with pytest.raises(CorpusError, match="file not found"):
        speechprompt.train_prompt({"yes": "words/yes", "no": ["no.wav"]}, "out")
    for empty in ("", " ", None):
        with pytest.raises(ConfigError, match="expected a text for each label"):
            speechprompt.train_prompt({"yes": "words/yes", empty: "words/no"}, "out")
    with pytest.raises(CorpusError, match="are one recording with two labels"):
        speechprompt.train_prompt({"yes": "words/yes", "no": "words/yes"}, "out")
    both = {"yes": "words/yes", "no": "words/no"}
    with pytest.raises(ConfigErrors, match="did you mean 'training'"):
        speechprompt.train_prompt(both, "out", settings={"trainnig": {}})
    assert not (workplace / "out").exists()


def test_what_is_shown_is_short(workplace):
    predictor = speechprompt.load_predictor("results/ks", "results/ic")
    assert repr(predictor) == "<Predictor: ks (4 labels), ic (5 labels)>"
    answer = predictor.predict("none.wav")[0]
    assert repr(answer) == "<Answer none.wav, ks: error: file not found>"
    task = speechprompt.load_task("results/ks")
    assert re.fullmatch(r"<Task ks: classification with 4 labels, [\d,]+ parameters>", repr(task))
    for shown in (predictor.tasks[0].units, predictor.tasks[0].units.codebook):
        assert len(repr(shown)) < 100


def test_an_unknown_name_of_the_package_is_an_error():
    with pytest.raises(AttributeError, match="no attribute 'Encodr'"):
        speechprompt.Encodr  # noqa: B018
