"""Snakemake with a Kubernetes API that runs every job here, in an empty folder of its own.

``python local_pods.py FOLDER ARGUMENTS...``: a job NAME runs in FOLDER/NAME, and what it says is in
FOLDER/NAME.log.
"""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import kubernetes
from snakemake.cli import main

FOLDER, ARGUMENTS = Path(sys.argv[1]), sys.argv[2:]
running = {}


class Api:
    """What the executor calls; secrets and deletions are of no interest."""

    def __getattr__(self, name):
        return lambda *arguments, **options: SimpleNamespace(items=[])

    def create_namespaced_job(self, namespace, body, **options):
        (container,) = body.spec.template.spec.containers
        work = FOLDER / body.metadata.name
        work.mkdir()
        with work.with_suffix(".log").open("w") as log:
            words = [*container.command, *container.args]
            process = subprocess.Popen(words, cwd=work, stdout=log, stderr=log)
        running[body.metadata.name] = process
        return body

    def read_namespaced_job_status(self, name, namespace):
        status = running[name].poll()
        ended = {"succeeded": int(status == 0), "failed": int(status not in (None, 0))}
        return SimpleNamespace(status=SimpleNamespace(**ended))


kubernetes.config.load_kube_config = lambda: None
kubernetes.client.CoreV1Api = kubernetes.client.BatchV1Api = Api
main(ARGUMENTS)
