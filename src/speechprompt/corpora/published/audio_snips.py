"""Audio SNIPS in SUPERB's form: sentences with slots, spoken by sixteen voices (Lai et al., 2021).

The label file ``all.iob.snips.txt`` has lines ``{speaker}-snips-{split}-{n} BOS TEXT EOS``, a tab,
``O tags intent``. The audio is in ``{split}/{name}.wav`` (SUPERB's copy), or in
``audio_{speaker}/snips/snips-{split}-{n}.mp3`` (an earlier publication).
https://huggingface.co/datasets/s3prl/SNIPS
"""

import re
from collections.abc import Sequence
from pathlib import Path

from speechprompt.config.corpora import AudioSnipsCorpus
from speechprompt.corpora.manifest import Listing, Recording
from speechprompt.corpora.published.counts import compare_counts, spell
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.errors import CorpusError
from speechprompt.runtime.progress import log
from speechprompt.storage.files import text_lines

__all__ = ["SPEAKERS", "list_recordings", "to_iob"]

SPEAKERS = {
    "train": ("Ivy", "Joanna", "Joey", "Justin", "Kendra", "Kimberly", "Matthew", "Salli"),
    "valid": ("Aditi", "Amy", "Geraint", "Nicole"),
    "test": ("Brian", "Emma", "Raveena", "Russell"),
}
SENTENCES = {"train": 13_084, "valid": 700, "test": 700}
PUBLISHED = {split: SENTENCES[split] * len(SPEAKERS[split]) for split in SPEAKERS}
FOLDER, LABEL_FILE = SOURCES["audio_snips"][0].folder, SOURCES["audio_snips"][0].marker
NAME = re.compile(r"(?P<speaker>[^-]+)-(?P<sentence>snips-(?P<split>train|valid|test)-\d+)")
SUFFIXES = ("wav", "mp3", "flac")
# The only word in another script for which SUPERB's recipe has a spelling.
FOREIGN = {"楽園追放": "EXPELLED"}
PUNCTUATION = "?!.,;-–…"


def list_recordings(corpus: AudioSnipsCorpus, root: Path, seed: int) -> Listing:
    """List the recordings in ``SNIPS`` below the root.

    The labels are ``text``, ``tags`` and ``intent``. ``tags`` has one tag per word of ``text``:
    ``O``, ``B-artist``, ``I-artist``. No speaker is in two splits. Rows keep the order of the label
    file. A missing recording is listed too; its manifest then counts it as rejected.
    """
    table = root / FOLDER / LABEL_FILE
    if not table.exists():
        raise CorpusError(
            f"{table}: not there; the published annotation of Audio SNIPS has digits and is not "
            "what SUPERB uses: take this file from SUPERB's copy"
        )
    recordings = []
    changed: dict[str, str] = {}
    for number, line in text_lines(table, CorpusError):
        where = f"{table}, line {number}"
        name, spoken, tagged, intent = _parse_line(where, line)
        if (match := NAME.fullmatch(name)) is None:
            raise CorpusError(
                f"{where}: expected {{speaker}}-snips-{{split}}-{{n}}, found {name!r}"
            )
        if match["speaker"] not in SPEAKERS[match["split"]]:
            continue
        words, tags = _clean(spoken, tagged, changed)
        if not words:
            raise CorpusError(f"{where}: expected words between BOS and EOS, found none")
        labels = {"text": " ".join(words), "tags": " ".join(tags), "intent": intent}
        path = _find_audio(root, match)
        recordings.append(Recording(path, match["split"], labels, match["speaker"]))
    if changed:
        before, after = next(iter(changed.items()))
        log(f"{table}: {len(changed)} words had other characters ({before} became {after})")
    compare_counts(root / FOLDER, recordings, PUBLISHED)
    return Listing(recordings, ["text", "tags", "intent"])


def to_iob(tags: Sequence[str]) -> list[str]:
    """Mark where a slot begins, because SUPERB's file only repeats a slot's name over its words.

    Tags with ``B-`` and ``I-`` stay as they are.
    """
    marked = []
    for before, tag in zip(["O", *tags], tags, strict=False):
        if tag == "O" or tag.startswith(("B-", "I-")):
            marked.append(tag)
        else:
            marked.append(f"I-{tag}" if tag == before else f"B-{tag}")
    return marked


def _parse_line(where: str, text: str) -> tuple[str, list[str], list[str], str]:
    """Name, words, their tags and intent of a line of the label file."""
    left, tab, right = text.partition("\t")
    (name, *tokens), (*tags, intent) = left.split() or [""], right.split() or [""]
    if not tab or len(tokens) < 2 or len(tags) != len(tokens) - 1:
        raise CorpusError(
            f"{where}: expected 'name BOS TEXT EOS', a tab, and 'O', one tag per word of TEXT, "
            f"intent; found {len(tokens)} tokens and {len(tags)} tags"
        )
    return name, tokens[1:-1], tags[1:], intent


def _clean(
    words: Sequence[str], tags: Sequence[str], changed: dict[str, str]
) -> tuple[list[str], list[str]]:
    """Spell the words with SUPERB's characters, and remove punctuation together with its tags.

    The beginnings of slots are marked before, so that punctuation between two slots of one type
    still separates them.
    """
    spelled, kept = [], []
    begins = False
    for word, tag in zip(words, to_iob(tags), strict=True):
        begins = tag.startswith("B-") or (begins and tag.startswith("I-"))
        text = "" if word in PUNCTUATION else spell(FOREIGN.get(word, word))
        if text not in (word.upper(), "AND", ""):
            changed.setdefault(word, text)
        for part in text.split():
            spelled.append(part)
            kept.append(f"B-{tag[2:]}" if begins else f"I-{tag[2:]}" if tag != "O" else "O")
            begins = False
    return spelled, kept


def _find_audio(root: Path, match: re.Match[str]) -> str:
    """The path of a recording relative to the root; that of SUPERB's copy if there is no file."""
    stems = (
        f"{FOLDER}/{match['split']}/{match[0]}",
        f"{FOLDER}/audio_{match['speaker']}/snips/{match['sentence']}",
    )
    paths = [f"{stem}.{suffix}" for stem in stems for suffix in SUFFIXES]
    return next((path for path in paths if (root / path).is_file()), paths[0])
