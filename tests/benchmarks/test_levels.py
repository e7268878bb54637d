"""What is measured on each device, and the ratios and levels of the report."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.cases import Case, list_cases, packages_missing
from benchmarks.levels import compare
from benchmarks.table import markdown

from benchmarks import cases as listed

NAMES = ("contender", "model", "lengths", "precision", "phase", "batch")
MACHINE = {"bf16_flags": [], "processor": "P", "cores": 2, "threads": 2, "gpu": None}
MACHINE |= {"memory_gb": 8, "python": "3", "versions": {"torch": "2"}}
BOTH = ["fp32", "bf16"]
PEAKS = {p + q: {"gflops": 100.0, "shape": [1, 2, 3]} for p in BOTH for q in ("", " laid out")}


def measured(name, rate, **more):
    *parts, batch = name.split("/")
    row = dict(zip(NAMES, [*parts, int(batch)], strict=True))
    return row | {"utterances_per_second": rate, "peak_bytes": 1e9} | more


def levels(row):
    return {level["level"]: level["holds"] for level in row["levels"]}


def test_levels_and_ratios_come_from_the_same_run():
    machine = {"bf16_flags": ["amx_bf16"], "processor": "P", "cores": 2, "threads": 2}
    machine |= {"memory_gb": 8, "python": "3", "versions": {"torch": "2"}}
    peaks = {p: {"gflops": 100.0, "shape": [1, 2, 3]} for p in ("fp32", "bf16")}
    names = ("contender", "model", "lengths", "precision", "phase", "batch")

    def row(*case, rate, gflops=0.0, peak=1e9):
        values = {"utterances_per_second": rate, "gflops": gflops, "peak_bytes": peak}
        return dict(zip(names, case, strict=True)) | values

    rows = [
        row("published", "151M", "ks", "fp32", "train", 32, rate=10.0),
        row("peft", "151M", "ks", "bf16", "train", 32, rate=20.0),
        row("ours", "151M", "ks", "bf16", "train", 32, rate=60.0, gflops=75.0, peak=4e9),
        row("ours", "151M", "ks", "fp32", "train", 32, rate=30.0, gflops=75.0),
    ]
    compared = compare(rows, machine, peaks)
    ours = compared[2]
    assert (ours["over_published"], ours["over_peft"], ours["share_of_peak"]) == (6.0, 3.0, 0.75)
    assert [level["holds"] for level in ours["levels"]] == [True, False]  # 5x, 3 GB
    assert [level["holds"] for level in compared[3]["levels"]] == [False, True]  # 80 %, 3 GB
    text = markdown(compared, machine, peaks)
    assert ">= 5x (a) holds; <= 3 GB missed" in text
    assert ">= 80 % of peak missed" in text


def test_levels_of_encoding():
    machine = {"bf16_flags": ["avx512_bf16"], "processor": "P", "cores": 2, "threads": 2}
    machine |= {"memory_gb": 8, "python": "3", "versions": {"torch": "2"}}
    peaks = {f"{p} laid out": {"gflops": 100.0, "shape": [1, 2, 3]} for p in ("fp32", "bf16")}
    names = ("contender", "precision", "batch", "utterances_per_second")
    common = {"model": "hubert-base", "lengths": "ks", "phase": "encode", "peak_bytes": 1e9}

    def row(*case, **more):
        speed = {"real_time": case[-1], "gflops": 5 * case[-1]}
        return dict(zip(names, case, strict=True)) | common | speed | more

    rows = [
        row("published", "fp32", 1, 10.0),
        row("ours", "fp32", 40, 14.0),
        row("ours", "bf16", 40, 25.0, unit_agreement=0.995),
    ]
    compared = compare(rows, machine, peaks)
    assert compared[1]["over_published"] == 1.4
    assert compared[1]["share_of_peak"] == pytest.approx(0.7)
    assert [level["holds"] for level in compared[1]["levels"]] == [True]
    # Three times is asked of bf16 matrix units only, which this processor has not.
    levels = [(level["holds"], level["asked"]) for level in compared[2]["levels"]]
    assert levels == [(False, False), (True, True)]
    text = markdown(compared, machine, peaks)
    assert "| 14.0        | 1.40  | 70%            | 1,000   |" in text
    assert "99.50%" in text
    assert "utt/s" not in text


def test_every_case_has_its_published_counterpart():
    cases = list(list_cases(quick=False, precisions=["fp32", "bf16"]))
    assert len({case.name for case in cases}) == len(cases)
    key = {(c.model, c.lengths, c.phase) for c in cases if c.contender == "published"}
    phases = ("train", "infer", "encode")
    assert key == {(c.model, c.lengths, c.phase) for c in cases if c.phase in phases}
    peers = {c.precision for c in cases if c.contender == "transformers"}
    assert peers == {"fp32", "bf16"}
    assert Case("ours", "151M", "ks", "bf16", "train", 32) in cases
    assert Case("ours", "hubert-base", "asr", "bf16", "encode", 3) in cases


def test_cases_of_a_gpu_have_their_peers_there():
    cases = list(list_cases(quick=False, precisions=BOTH, device="cuda"))
    names = {case.name for case in cases}
    assert len(names) == len(cases)
    assert "published" not in {case.contender for case in cases}
    for case in cases:
        peer = {"train": "peft", "infer": "peft", "encode": "transformers"}.get(case.phase)
        assert peer is None or case.name.replace("ours", peer, 1) in names
    for model in ("nano", "151M"):
        for lengths, batches in (("ks", (32, 128)), ("asr", (4, 32))):
            for phase in ("train", "infer"):
                rows = {f"peft/{model}/{lengths}/bf16/{phase}/{batch}" for batch in batches}
                assert rows <= names
    quick = list(list_cases(quick=True, precisions=BOTH, device="cuda"))
    assert {case.precision for case in quick if case.phase != "pack"} == {"bf16"}
    assert {case.phase for case in quick} == {case.phase for case in cases}
    assert len(quick) < len(cases) / 3


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_device_pretrains_packs_and_runs_the_whole_job(device):
    cases = list(list_cases(quick=False, precisions=BOTH, device=device))
    for phase, models in (("pretrain", {"nano", "151M"}), ("extract", {"hubert-base"})):
        found = {(case.model, case.lengths) for case in cases if case.phase == phase}
        assert found == {(model, lengths) for model in models for lengths in ("ks", "asr")}
    packed = [case for case in cases if case.phase == "pack"]
    assert [(case.lengths, case.batch) for case in packed] == [("ks", 32), ("asr", 32)]
    assert all(case.peak is None for case in packed)


def test_an_implementation_that_is_not_installed_is_told(monkeypatch):
    assert packages_missing("ours") == []
    monkeypatch.setitem(listed._PACKAGES, "peft", ("torch", "no_such_package"))
    assert packages_missing("peft") == ["no_such_package"]


def test_levels_of_a_gpu():
    rows = [
        measured("peft/151M/ks/bf16/train/32", 100.0),
        measured("ours/151M/ks/bf16/train/32", 190.0, gflops=50.0),
        measured("peft/151M/ks/bf16/train/128", 100.0),
        measured("ours/151M/ks/bf16/train/128", 210.0, gflops=50.0),
        measured("peft/151M/asr/bf16/train/32", 10.0),
        measured("ours/151M/asr/bf16/train/32", 15.0, gflops=39.0),
        measured("peft/nano/asr/bf16/infer/32", 10.0),
        measured("ours/nano/asr/bf16/infer/32", 90.0, gflops=1.0),
        measured("peft/nano/ks/bf16/infer/32", 10.0),
        measured("ours/nano/ks/bf16/infer/32", 30.0, gflops=1.0),
        measured("ours/nano/ks/fp32/infer/32", 30.0, gflops=1.0),
    ]
    compared = compare(rows, MACHINE | {"gpu": "G"}, PEAKS)
    asked = [levels(row) for row in compared if row["contender"] == "ours"]
    assert asked == [
        {">= 2x (b)": False},
        {">= 2x (b)": True},
        {">= 1.5x (b)": True, ">= 40 % of peak": False},
        {">= 10x (b)": False},
        {">= 3x (b)": True},
        {},
    ]


def test_levels_of_encoding_on_a_gpu():
    rows = [
        measured("transformers/hubert-base/asr/bf16/encode/4", 1.0, real_time=50.0),
        measured("transformers/hubert-base/asr/bf16/encode/32", 1.0, real_time=100.0),
        measured("ours/hubert-base/asr/bf16/encode/32", 1.0, real_time=210.0, gflops=41.0)
        | {"unit_agreement": 0.995},
        measured("ours/hubert-base/ks/fp32/encode/400", 1.0, real_time=210.0, gflops=41.0)
        | {"unit_agreement": 0.998},
        measured("ours/hubert-base/asr/bf16/extract/256", 1.0, real_time=105.0),
    ]
    compared = compare(rows, MACHINE | {"gpu": "G"}, PEAKS)
    assert levels(compared[2]) == {
        ">= 2x (c)": True,
        ">= 40 % of peak": True,
        ">= 99 % of units": True,
    }
    assert levels(compared[3]) == {">= 99.9 % of units": False}
    assert compared[4]["of_encoder"] == 0.5
    text = markdown(compared, MACHINE | {"gpu": "G"}, PEAKS)
    assert text.startswith("G; P")
    assert "x (c)" in text
    assert "x (a)" not in text  # nothing published runs on a GPU
    assert "this package, whole job" in text


def test_pretraining_and_packing_have_tables_of_their_own():
    rows = [
        measured("ours/nano/ks/fp32/pretrain/2048", 10.0, tokens_per_second=250.0, gflops=30.0),
        measured("ours/nano/ks/fp32/pack/32", 50_000.0, microseconds=20.0),
        measured("ours/nano/asr/fp32/pack/32", 40_000.0, microseconds=25.0),
    ]
    text = markdown(compare(rows, MACHINE, PEAKS), MACHINE, PEAKS)
    assert "| nano  | ks      | fp32      | 2048              | 250      | 30%            |" in text
    assert "<= 20 us holds" in text
    assert "<= 20 us missed" in text


def test_a_ratio_is_over_the_same_batch_or_else_the_fastest():
    rows = [
        measured("peft/nano/ks/fp32/train/32", 10.0),
        measured("peft/nano/ks/fp32/train/64", 20.0),
        measured("ours/nano/ks/fp32/train/32", 30.0, gflops=1.0),
        measured("ours/nano/ks/fp32/train/128", 30.0, gflops=1.0),
    ]
    assert [row["over_peft"] for row in compare(rows, MACHINE, PEAKS)[2:]] == [3.0, 1.5]


def test_a_failure_is_in_the_table():
    row = measured("ours/nano/ks/fp32/train/32", 1.0) | {"error": "out of memory"}
    for key in ("utterances_per_second", "peak_bytes"):
        del row[key]
    assert "failed | out of memory" in markdown(compare([row], MACHINE, PEAKS), MACHINE, PEAKS)
