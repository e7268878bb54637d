"""The Kubernetes profile: what the cluster would be asked to run. No cluster is needed."""

import base64
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from pipeline import REPOSITORY, link_sources

PROFILE = REPOSITORY / "workflow/profiles/kubernetes"
HUB = {"kind": "hubert", "checkpoint": "some/model", "revision": "a" * 40, "layer": 1}


@pytest.fixture(scope="module")
def manifests(tmp_path_factory):
    """What is sent for the first training of configs/ci.yaml, twice killed, by attempt."""
    folder = tmp_path_factory.mktemp("kubernetes")
    volume, sent, tools = folder / "volume", folder / "sent", folder / "tools"
    # In the order in which they are made, so that none is older than what it is made of.
    units = ("part-00000-of-00002.parquet", "part-00001-of-00002.parquet", "index.json")
    for name in (
        *(
            f"units/mfcc50/keywords/{split}/{file}"
            for split in ("train", "valid", "test")
            for file in units
        ),
        "lm/tiny/model.safetensors",
    ):
        (volume / "results" / name).parent.mkdir(parents=True, exist_ok=True)
        (volume / "results" / name).touch()
    for path in (sent, tools):
        path.mkdir()
    # The storage provider copies the sources with rsync, which not every machine has.
    (tools / "rsync").write_text(
        '#!/bin/sh\nfor last; do from=$to; to=$last; done; cp "$from" "$to"\n'
    )
    (tools / "rsync").chmod(0o755)
    link_sources(folder)
    done = subprocess.run(
        [
            *(sys.executable, str(Path(__file__).with_name("recorded_kubernetes.py")), str(sent)),
            *("--workflow-profile", str(PROFILE), "--configfile", "configs/ci.yaml"),
            *("--default-storage-prefix", str(volume), "--retries", "1"),
            # A model of the hub, so that its token is passed on.
            *("--config", "device=cuda", f"encoders={{hub: {json.dumps(HUB)}}}"),
            *("--rerun-triggers", "mtime", "--seconds-between-status-checks", "1"),
            *("--set-resources", "train_prompt:gpu=1", "train_prompt:mem_mb=4000*attempt"),
            *("--set-threads", "train_prompt=4"),
            *("--", "results/ks/prompt/seed-1/prompt.safetensors"),
        ],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "HF_TOKEN": "secret"},
        timeout=120,
    )
    assert done.returncode, "every job was made to fail"
    found = [json.loads(path.read_text()) for path in sent.glob("*.json")]
    assert len(found) == 2, done.stdout + done.stderr
    return sorted(found, key=lambda manifest: container(manifest)["resources"]["limits"]["memory"])


def container(manifest):
    (only,) = manifest["spec"]["template"]["spec"]["containers"]
    return only


def words(manifest):
    """The command line, with what Snakemake passes on in base64 made readable."""
    job = container(manifest)
    assert job["command"] == ["/bin/sh"]
    flag, line = job["args"]
    assert flag == "-c"
    return [
        base64.b64decode(word.removeprefix("base64//")).decode()
        if word.startswith("base64//")
        else word
        for word in shlex.split(line)
    ]


def follows(manifest, *expected):
    """Whether words stand in the command line one after the other."""
    line = words(manifest)
    return any(line[i : i + len(expected)] == [*expected] for i in range(len(line)))


def test_a_job_runs_snakemake_in_the_image_of_the_profile(manifests):
    profile = yaml.safe_load((PROFILE / "config.yaml").read_text())
    for manifest in manifests:
        assert manifest["metadata"]["namespace"] == profile["kubernetes-namespace"]
        assert container(manifest)["image"] == profile["container-image"]
        assert follows(manifest, "python", "-m", "snakemake", "--snakefile", "workflow/Snakefile")
        assert follows(manifest, "--configfiles", "configs/ci.yaml")
        assert follows(manifest, "--target-jobs", "train_prompt:task=ks,method=prompt,seed=1")


def test_the_device_is_the_profiles(manifests):
    assert follows(manifests[0], "--config", "device=cuda")


def test_a_job_has_the_hubs_token_from_a_secret(manifests):
    (variable,) = (v for v in container(manifests[0])["env"] if v["name"] == "HF_TOKEN")
    assert variable["valueFrom"]["secretKeyRef"]["key"] == "hf_token"
    assert "secret" not in words(manifests[0])


def test_sources_and_results_are_on_the_volume(manifests):
    assert follows(manifests[0], "python", "-m", "snakemake", "--deploy-sources")
    assert follows(manifests[0], "--default-storage-provider", "fs")
    volumes = manifests[0]["spec"]["template"]["spec"]["volumes"]
    claims = {v["name"]: v.get("persistentVolumeClaim") for v in volumes}
    assert claims == {"workdir": None, "speechprompt": {"claimName": "speechprompt"}}
    mounts = container(manifests[0])["volumeMounts"]
    assert {"name": "speechprompt", "mountPath": "/data"} in mounts


def test_a_job_is_limited_to_what_it_asks_for(manifests):
    resources = container(manifests[0])["resources"]
    assert resources["requests"]["cpu"] == "3800m"
    assert resources["limits"]["cpu"] == "4000m"
    for name, amount in {"memory": "4000M", "nvidia.com/gpu": "1"}.items():
        assert resources["requests"][name] == resources["limits"][name] == amount
    (toleration,) = manifests[0]["spec"]["template"]["spec"]["tolerations"]
    assert toleration["key"] == "nvidia.com/gpu"


def test_the_next_attempt_asks_for_more(manifests):
    assert container(manifests[1])["resources"]["limits"]["memory"] == "8000M"
    assert follows(manifests[1], "--attempt", "2")
