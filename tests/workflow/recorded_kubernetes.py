"""Snakemake with a Kubernetes API that writes down what it is sent and lets every job fail.

``python recorded_kubernetes.py FOLDER ARGUMENTS...`` writes one manifest a job, as the API gets it.
"""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import kubernetes
from snakemake.cli import main

FOLDER, ARGUMENTS = Path(sys.argv[1]), sys.argv[2:]


class Api:
    """What the executor calls; secrets and deletions are of no interest."""

    def __getattr__(self, name):
        return lambda *arguments, **options: SimpleNamespace(items=[])

    def create_namespaced_job(self, namespace, body, **options):
        manifest = kubernetes.client.ApiClient().sanitize_for_serialization(body)
        manifest["metadata"]["namespace"] = namespace
        (FOLDER / f"{body.metadata.name}.json").write_text(json.dumps(manifest, indent=2))
        return body

    def read_namespaced_job_status(self, name, namespace):
        return SimpleNamespace(status=SimpleNamespace(failed=1, succeeded=0))


kubernetes.config.load_kube_config = lambda: None
kubernetes.client.CoreV1Api = kubernetes.client.BatchV1Api = Api
main(ARGUMENTS)
