"""Verbs that download published models and corpora."""

from __future__ import annotations

import argparse

from speechprompt.cli.verb import verb
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.downloads.assets import ASSETS


@verb(
    files={"--out": "folder of the corpus", "--root": "copy to link to instead of downloading"},
    optional=("--root",),
    options={
        "--kind": {"required": True, "choices": tuple(SOURCES), "help": "which corpus"},
        "--folders": {
            "nargs": "+",
            "metavar": "NAME",
            "help": "folders of the corpus that are wanted, such as dev-clean (default: all)",
        },
    },
)
def download_corpus(a: argparse.Namespace) -> None:
    """Download, check and unpack a published corpus, or link to a copy of it."""
    from speechprompt.corpora.published.collect import collect_corpus

    collect_corpus(a.kind, a.out, folders=a.folders, root=a.root)


@verb(
    files={"--out": "file to write", "--root": "folder that has the file already: it is linked to"},
    optional=("--root",),
    options={
        "model": {
            "choices": tuple(name for name, asset in ASSETS.items() if asset.is_model),
            "metavar": "NAME",
            "help": "which file: %(choices)s",
        }
    },
)
def download_model(a: argparse.Namespace) -> None:
    """Download and check a published model file, or link to a copy of it."""
    from speechprompt.downloads.download import fetch, link_copy

    asset = ASSETS[a.model]
    if a.root is not None:
        link_copy(asset, a.root, a.out)
    fetch(asset, a.out)
