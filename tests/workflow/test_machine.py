"""What jobs compute on and ask for, without Snakemake."""

import pytest
from made_up_jobs import Files, of

from speechprompt.workflow.resources import Machine, Resources, needed_mb


@pytest.mark.parametrize(
    ("device", "slots", "is_main", "is_cluster", "expected"),
    [
        ("auto", "0", True, False, ("cuda", ("0",))),
        ("auto", "", True, False, ("cpu", ())),
        ("auto", "0", True, True, ("cpu", ())),
        ("auto", "0", False, False, ("cpu", ())),
        ("cuda", "", True, True, ("cuda", ())),
        ("cuda", "0,1", False, False, ("cuda", ())),
        ("cpu", "0", True, False, ("cpu", ())),
    ],
)
def test_what_jobs_compute_on(plan, monkeypatch, device, slots, is_main, is_cluster, expected):
    monkeypatch.setenv("SPEECHPROMPT_GPUS", slots)
    config = plan.config.model_copy(update={"device": device})
    machine = Machine.find(config, is_main=is_main, is_cluster=is_cluster)
    assert (machine.device, machine.gpu_slots) == expected


def test_jobs_that_share_a_gpu_have_a_slot_each(plan, monkeypatch):
    monkeypatch.setenv("SPEECHPROMPT_GPUS", "0,1")
    config = plan.config.model_copy(update={"jobs_per_gpu": 2})
    assert Machine.find(config, is_main=True, is_cluster=False).gpu_slots == ("0", "1", "0", "1")


def test_memory_is_for_files_and_more_for_units():
    megabyte = 2**20
    read = Files(
        {"u/part-0.parquet": 10**6, "m.safetensors": 3 * megabyte, "wavs": 9 * megabyte},
        train="u/index.json",
        parts=["u/part-0.parquet"],
        lm="m.safetensors",
        recordings=["wavs"],
    )
    assert needed_mb(read, 2) == pytest.approx(2 * 3 + 80)
    assert needed_mb(read, 0) == pytest.approx(80)
    # Parts that are gathered are files like others.
    parts = Files({"u/part-0.parquet": megabyte}, parts=["u/part-0.parquet"])
    assert needed_mb(parts, 3) == pytest.approx(3)


def test_a_later_attempt_asks_for_more(plan):
    resources = Resources(plan.config, Machine("cuda", ("0",)))
    memory, runtime = resources.memory(1000, network=True), resources.minutes(30)
    assert [memory(of(), Files(), attempt) for attempt in (1, 2)] == [4000, 8000]
    assert [runtime(of(), attempt) for attempt in (1, 2)] == [30, 60]
    assert (resources.gpu, Resources(plan.config, Machine("cpu")).gpu) == (1, None)


def test_only_networks_encode_on_a_gpu(plan):
    resources = Resources(plan.config, Machine("cuda", ("0",)))
    assert resources.encoding_gpu(of(encoder="nano")) == 1
    assert resources.encoding_gpu(of(encoder="mfcc")) is None


def test_what_a_job_is_told_by_the_environment(plan):
    text = Resources(plan.config, Machine("cuda", ("0", "1"))).environment("/my checkout")
    assert "SPEECHPROMPT_DEVICE=cuda" in text
    assert "SPEECHPROMPT_GPU_SLOTS=0,1" in text
    assert "SPEECHPROMPT_CHECKOUT='/my checkout'" in text
