"""A small finished run, made by the package without Snakemake: real stages, random weights."""

from pathlib import Path

import numpy as np
import soundfile
import torch

from random_models import random_lm
from speechprompt.config.tasks import DecodingSettings, PromptSettings
from speechprompt.encoders import load_encoder
from speechprompt.lm import Dictionary, load_lm, save_lm
from speechprompt.predict.task_folder import describe_model
from speechprompt.prompting.prompt import Prompt
from speechprompt.prompting.task_model import TaskModel
from speechprompt.tasks.classification import Classification
from speechprompt.tasks.sequences import SlotFilling, Transcription
from speechprompt.tasks.verbalizer import Verbalizer
from speechprompt.units.codebook import load_codebook, write_codebook
from speechprompt.units.feature_files import FeatureMetadata

N_UNITS = 20
RATE = 16000
LABELS = {
    "ks": Classification(("label",), (("yes", "no", "up", "down"),)),
    "ic": Classification(("action", "place"), (("on", "off"), ("here", "there", "away"))),
    "asr": Transcription(("text",), tuple("ABC DE")),
    "sf": SlotFilling(("text", "tags"), ("[city:", "]", *"ABC D")),
}
LENGTHS = {"ks": 2, "ic": 7, "asr": 4, "sf": 5}
DECODING = {
    "ks": {"beam": 1, "free": False, "max_length": 400, "length_penalty": 1.0},
    "asr": {
        "precision": "fp32",
        "beam": 3,
        "free": False,
        "combinations": "known",
        "max_length": 6,
        "length_penalty": 0.5,
    },
}


def sound(number, seconds=0.4, rate=RATE):
    """A tone that glides, in noise: another for every number."""
    rng = np.random.default_rng(number)
    time = np.arange(int(seconds * rate)) / rate
    low, high = rng.uniform(100, 3000, 2)
    tone = np.sin(2 * np.pi * (low + (high - low) * time / seconds) * time)
    return (0.3 * tone + 0.05 * rng.standard_normal(len(time))).astype(np.float32)


def record(folder, count, start=0, ending="wav"):
    """Write recordings of different lengths; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{start + i:03d}.{ending}" for i in range(count)]
    for i, path in enumerate(paths):
        soundfile.write(path, sound(start + i, 0.2 + 0.05 * ((start + i) % 9)), RATE)
    return paths


def write_codebook_of(path, encoder, recordings):
    """Centroids that are frames of the recordings."""
    waveforms = [torch.from_numpy(soundfile.read(file, dtype="float32")[0]) for file in recordings]
    frames = np.concatenate([frame.numpy() for frame in encoder.encode(waveforms)])
    chosen = np.random.default_rng(0).permutation(len(frames))[:N_UNITS]
    write_codebook(path, frames[chosen], FeatureMetadata.of(encoder), {"seed": 0})
    return load_codebook(path)


def write_run(folder, encoder=None, tasks=tuple(LABELS)):
    """``results/`` with a codebook, a unit LM and finished tasks; ``audio/`` with recordings."""
    encoder = encoder or {"kind": "mfcc", "cmvn": True}
    results = Path(folder) / "results"
    recordings = record(Path(folder) / "audio", 8)
    book_path = results / "codebooks" / "tiny.safetensors"
    book = write_codebook_of(book_path, load_encoder(**encoder), recordings)
    lm_path = results / "lm" / "tiny" / "model.safetensors"
    model = random_lm(n_units=N_UNITS, scale=2.5)
    save_lm(lm_path, model, Dictionary(range(N_UNITS - 1, -1, -1)), book.sha256)
    for number, name in enumerate(tasks):
        prompt = results / name / "prompt.safetensors"
        task_model(name, lm_path, number).save(
            prompt, {"task": name, "answers": LABELS[name].state(), "seed": 1, "training": {}}
        )
        describe_model(
            results / name / "model.json",
            task=name,
            prompt=prompt,
            unit_lm=lm_path,
            codebook=book_path,
            encoder=encoder,
            deduplicate=True,
            decoding=DecodingSettings(**DECODING.get(name, DECODING["ks"] | {"max_length": 8})),
        )
    return Path(folder)


def task_model(name, lm_path, seed, *, finetune=False):
    lm, labels = load_lm(lm_path), LABELS[name]
    generator = torch.Generator().manual_seed(seed)
    prompt = Prompt(lm.model.config, PromptSettings(length=LENGTHS[name]), generator)
    kind = "learnable" if name == "ks" else "frequency"
    verbalizer = Verbalizer(kind, range(seed, seed + len(labels.names)), N_UNITS)
    return TaskModel(lm, None if finetune else prompt, verbalizer, labels.allowed)
