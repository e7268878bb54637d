"""Pre-training through the pipeline: encoder, codebook and unit LM, on reduced schedules."""

import json

import numpy as np
import pandas as pd
import pytest
import soundfile
import yaml

from pipeline import REPOSITORY, planned, snakemake
from speechprompt.corpora.debian_recordings import collect_recordings
from speechprompt.encoders import load_encoder
from speechprompt.prompting.start import make_start
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.tensors import read_tensor_metadata

pytestmark = pytest.mark.slow

TINY_HUBERT = {
    "convolutions": [[16, 160, 40], [16, 3, 2], [16, 3, 4]],
    "dim": 64,
    "layers": 2,
    "heads": 2,
    "ffn": 96,
    "position_kernel": 8,
    "max_epochs": 1,
}


def reduced(name):
    """A set-up that comes along, with tiny models and few utterances."""
    values = yaml.safe_load((REPOSITORY / "configs" / name).read_text()) | {"shards": 1}
    for corpus in values["corpora"].values():
        if corpus["kind"] == "synthetic":
            corpus |= {"n_train": 40, "n_valid": 6, "n_test": 6}
    for encoder in values["encoders"].values():
        encoder["sample_frames"] = 4000
        if encoder["kind"] == "hubert":
            encoder["layer"] = 2 if "pretraining" in encoder else 1
            encoder.get("pretraining", {}).update(TINY_HUBERT)
    for book in values["codebooks"].values():
        book["n_units"] = 20
    for lm in values.get("lm", {}).values():
        lm |= {"layers": 2, "heads": 2, "dim": 32, "ffn": 64, "max_epochs": 1}
    return values


def write(path, values):
    path.write_text(yaml.safe_dump(values))
    return path


def collected(folder):
    """A table of eight recordings as `make recordings` collects them."""
    for index in range(8):
        file = folder / f"packages/usr/share/klettres/lt/alpha/{index}.ogg"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(index).normal(0, 0.1, 16_000)
        soundfile.write(file, noise, 16_000)
    collect_recordings(folder / "packages", folder / "recordings")


def test_the_shipped_models_can_be_made_again(tmp_path):
    """configs/nano.yaml, with eSpeak NG in place of the engines that may be missing."""
    values = reduced("nano.yaml")
    for corpus in values["corpora"].values():
        if corpus["kind"] == "synthetic":
            corpus["engines"] = []
    for lm in values["lm"].values():
        lm["corpora"] = ["more_english", "keywords", "recordings"]
    values["lm"]["nano"]["pretraining_tasks"] |= {"sequences": 2, "sequence_share": 0.5}
    values["encoders"]["nano_3"]["layer"] = 1
    measured = values["quality"]["codebooks"] = ["mfcc100", "nano_3-100", "nano100"]
    del values["encoders"]["nano_5"], values["codebooks"]["nano_5-100"]
    values["tasks"]["ks"]["training"]["max_epochs"] = 1
    run = tmp_path / "run"
    collected(run)
    configuration = write(tmp_path / "nano.yaml", values)
    further = [f"results/{model}/learning_curve.svg" for model in ("encoders/nano", "lm/nano")]
    further += [f"results/codebooks/nano{n_units}.safetensors" for n_units in (50, 200)]
    snakemake(run, "--cores", "2", "all", *further, configfile=configuration)
    weights = run / "results/encoders/nano/model.safetensors"
    encoder = load_encoder("hubert", weights=weights, layer=2)
    codebook = read_tensor_metadata(run / "results/codebooks/nano100.safetensors")
    assert codebook["encoder_sha256"] == encoder.sha256
    targets = read_tensor_metadata(weights)["targets"]
    assert targets["codebook"] == "second500"
    assert {shard["corpus"] for shard in targets["shards"]} == {
        "plain_more",
        "plain_more_foreign",
        "plain_people",
        "recordings",
    }
    lm = read_tensor_metadata(run / "results/lm/nano/model.safetensors")
    assert "averaged_held_out_loss" in lm["training"]
    assert lm["codebook_sha256"] == sha256_file(run / "results/codebooks/nano100.safetensors")
    assert all((run / path).exists() for path in further)
    quality = pd.read_parquet(run / "results/quality/table.parquet")
    assert quality["codebook"].tolist()[:3] == measured
    assert quality["layer"].tolist()[1:3] == [1, 2]
    for task in ("ks", "digits"):
        assert (run / f"results/{task}/prompt.safetensors").exists()
    assert not planned(run, configfile=configuration) - {"all"}

    # The prompt that others start from.
    values = yaml.safe_load((REPOSITORY / "configs/words.yaml").read_text())
    values["corpora"]["words"] |= {"n_train": 40, "n_valid": 6, "n_test": 6}
    values["encoders"]["nano"] |= {"layer": 2, "weights": str(weights)}
    made = {"codebooks": "codebooks/nano100", "lm": "lm/nano/model"}
    for section, path in made.items():
        (block,) = values[section].values()
        block["weights"] = str(run / f"results/{path}.safetensors")
    values["tasks"]["words"]["training"]["max_epochs"] = 1
    words = tmp_path / "words"
    configuration = write(tmp_path / "words.yaml", values)
    targets = (
        "results/words/prompt/seed-1/prompt.safetensors",
        "results/units/nano100/words/valid/index.json",
    )
    snakemake(words, "--cores", "2", *targets, configfile=configuration)
    prompt, index = (words / path for path in targets)
    start = words / "start.safetensors"
    make_start(prompt, run / "results/lm/nano/model.safetensors", index, start, readers=8)
    assert read_tensor_metadata(start)["words"] == 40

    # Another set-up takes them as they are.
    taking = {
        "shards": 1,
        "corpora": {"words": {"kind": "synthetic", "n_train": 96, "n_valid": 24, "n_test": 24}},
        "encoders": {"nano": {"kind": "hubert", "layer": 2, "weights": str(weights)}},
        "codebooks": {
            "nano100": {
                "encoder": "nano",
                "weights": str(run / "results/codebooks/nano100.safetensors"),
            }
        },
        "lm": {
            "nano": {
                "codebook": "nano100",
                "weights": str(run / "results/lm/nano/model.safetensors"),
            }
        },
        "tasks": {"ks": {"corpus": "words", "lm": "nano", "training": {"max_epochs": 1}}},
    }
    other = tmp_path / "other"
    configuration = write(tmp_path / "taking.yaml", taking)
    snakemake(other, "--cores", "2", "results/ks/acc.txt", configfile=configuration)
    metrics = json.loads((other / "results/ks/metrics.json").read_text())
    assert sha256_file(run / "results/lm/nano/model.safetensors") in json.dumps(metrics)


def test_own_unlabelled_audio(shared_data, tmp_path):
    """configs/own-language.yaml on real recordings, of which only the audio is used."""
    mine = tmp_path / "mine"
    mine.mkdir()
    rows = []
    for path in sorted((shared_data / "fsdd").glob("*.wav"))[::20]:
        audio, rate = soundfile.read(path)
        soundfile.write(mine / path.name, audio, rate)
        rows.append({"path": path.name, "split": "train"})
    pd.DataFrame(rows).to_csv(mine / "table.csv", index=False)
    values = reduced("own-language.yaml")
    values["corpora"]["mine"]["table"] = str(mine / "table.csv")
    configuration = write(tmp_path / "mine.yaml", values)
    run = tmp_path / "run"
    snakemake(run, "--cores", "2", configfile=configuration)
    lm = read_tensor_metadata(run / "results/lm/mine/model.safetensors")
    assert {shard["corpus"] for shard in lm["shards"]} == {"mine"}
