"""Verbs of what is published: downloads of models and corpora, and one per corpus that prepares."""

from __future__ import annotations

import argparse

from speechprompt.cli.preparing import REJECTED, report
from speechprompt.cli.verb import verb
from speechprompt.config.corpora import (
    AudioSnipsCorpus,
    FluentSpeechCommandsCorpus,
    FsddCorpus,
    LibriSpeechCorpus,
    SpeechCommandsCorpus,
)
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.downloads.assets import ASSETS

MANIFESTS = {"--out": "folder for the manifests"}
FILES = {"folder": "folder that download-corpus filled"} | MANIFESTS


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


@verb(
    files={"recordings": "folder with the recordings"} | MANIFESTS,
    options=REJECTED,
    threads=True,
    block=FsddCorpus,
    seed=True,
)
def prepare_fsdd(a: argparse.Namespace, corpus: FsddCorpus) -> None:
    """Split the Free Spoken Digit Dataset and write its manifests."""
    from speechprompt.corpora.published.fsdd import prepare_fsdd

    counts = prepare_fsdd(
        a.recordings,
        a.out,
        test_speaker=corpus.test_speaker,
        valid_fraction=corpus.valid_fraction,
        **_common(a),
    )
    report(counts)


@verb(files=FILES, options=REJECTED, threads=True, block=SpeechCommandsCorpus, seed=True)
def prepare_speech_commands(a: argparse.Namespace, corpus: SpeechCommandsCorpus) -> None:
    """Split Speech Commands, cut its silence and write its manifests."""
    from speechprompt.corpora.published.speech_commands import prepare_speech_commands

    report(prepare_speech_commands(a.folder, a.out, n_silence=corpus.n_silence, **_common(a)))


@verb(files=FILES, options=REJECTED, threads=True, block=FluentSpeechCommandsCorpus, seed=True)
def prepare_fluent_speech_commands(
    a: argparse.Namespace, corpus: FluentSpeechCommandsCorpus
) -> None:
    """Write the manifests of Fluent Speech Commands."""
    from speechprompt.corpora.published.fluent_speech_commands import prepare_fluent_speech_commands

    report(prepare_fluent_speech_commands(a.folder, a.out, **_common(a)))


@verb(files=FILES, options=REJECTED, threads=True, block=LibriSpeechCorpus, seed=True)
def prepare_librispeech(a: argparse.Namespace, corpus: LibriSpeechCorpus) -> None:
    """Write the manifests of LibriSpeech."""
    from speechprompt.corpora.published.librispeech import prepare_librispeech

    subsets = {"train": corpus.train, "valid": corpus.valid, "test": corpus.test}
    report(prepare_librispeech(a.folder, a.out, subsets=subsets, **_common(a)))


@verb(files=FILES, options=REJECTED, threads=True, block=AudioSnipsCorpus, seed=True)
def prepare_audio_snips(a: argparse.Namespace, corpus: AudioSnipsCorpus) -> None:
    """Write the manifests of Audio SNIPS."""
    from speechprompt.corpora.published.audio_snips import prepare_audio_snips

    report(prepare_audio_snips(a.folder, a.out, **_common(a)))


def _common(a: argparse.Namespace) -> dict[str, float]:
    """What every preparation takes."""
    return {"seed": a.seed, "max_rejected": a.max_rejected, "threads": a.compute_threads}
