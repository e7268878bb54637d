"""Phone alignments of a synthetic corpus, made by synthesising its recordings once more."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile

from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.corpora.manifest import read_root
from speechprompt.corpora.synthetic import plan
from speechprompt.corpora.synthetic.espeak import Speaker
from speechprompt.corpora.synthetic.phones import SILENCE, Alignment
from speechprompt.corpora.synthetic.synthesis import Utterance, in_batches, to_pcm
from speechprompt.errors import ArtefactError
from speechprompt.runtime.progress import progress
from speechprompt.storage.parquet import read_parquet, write_parquet

__all__ = ["ALIGNMENTS_SCHEMA", "align_phones", "phone_of"]

ALIGNMENTS_SCHEMA = pa.schema(
    {
        "utt_id": pa.string(),
        "phones": pa.list_(pa.string()),
        "starts": pa.list_(pa.float32()),
        "end": pa.float32(),
    }
)
# Rounding on another processor moves samples by at most so many of 32,768 steps. Those of another
# utterance differ by more.
SAME = 8
STRESS = "',%="
# Marks of length, contextual variants and linking, and the numbers of variants.
VARIANT = re.compile(r"(?<=.)[:#\[\-0-9]+$")


def phone_of(mnemonic: str) -> str:
    """The phone of an eSpeak NG mnemonic.

    Marks of stress before the letters are removed. So are marks after them: of length (``i:``
    becomes ``i``), of a variant (``t2`` after s and the flap ``t#`` become ``t``), and of a link
    (``r-`` becomes ``r``). The palatal glide ``;`` becomes ``j``. The accents used here have about
    50 phones:

    - stops and affricates ``p b t d k g ? tS dZ``, fricatives ``f v T D s z S Z h``,
    - nasals and approximants ``m n N l r j w``,
    - vowels ``i I E a aa A 0 O U u V 3 @``, diphthongs ``aI eI OI aU oU``,
    - vowels before r and l ``A@ e@ i@ O@ o@ U@ aI@ IR VR @L``,
    - ``sil``: silence before, after and between words.
    """
    if mnemonic == SILENCE:
        return SILENCE
    phone = VARIANT.sub("", mnemonic.lstrip(STRESS))
    return "j" if phone == ";" else phone


def align_phones(
    corpus: SyntheticCorpus,
    manifest_path: str | Path,
    out: str | Path,
    *,
    seed: int,
    processes: int = 1,
) -> None:
    """Write the phone alignments of a split.

    The utterances are synthesised once more, and each is compared with its recording to make sure
    that the alignment belongs to it.

    Columns: ``utt_id``, ``phones`` list<string>, ``starts`` list<float32> and ``end`` float32, in
    seconds of the recording. The first phone starts at 0. Each phone lasts until the next one
    starts, the last until ``end``.

    Args:
        corpus: Settings that the corpus was made with.
        manifest_path: Manifest of the split, whose order the alignments keep.
        out: Parquet file to write.
        seed: Seed of the corpus.
        processes: Number of processes; the result does not depend on it.

    Raises:
        ArtefactError: a recording is missing, or differs from what is synthesised now.
    """
    planned = {item.recording.path: item for item in plan(corpus, seed)}
    manifest = read_parquet(manifest_path, ["utt_id", "path"])
    paths = manifest["path"].to_pylist()
    if unknown := [path for path in paths if path not in planned]:
        raise ArtefactError(
            f"{manifest_path}: expected recordings of the task {corpus.task!r} with seed {seed} "
            f"and {corpus.n_train}, {corpus.n_valid} and {corpus.n_test} utterances, found "
            f"{unknown[0]!r}; give the settings that the corpus was made with"
        )
    todo = [planned[path] for path in paths]
    aligned = in_batches(partial(_align_batch, read_root(manifest_path)), todo, processes)
    alignments = list(progress(aligned, "align phones", len(todo)))
    columns = {
        "utt_id": manifest["utt_id"],
        "phones": [list(map(phone_of, item.phones)) for item in alignments],
        "starts": [item.starts for item in alignments],
        "end": [item.end for item in alignments],
    }
    write_parquet(out, pa.table(columns, schema=ALIGNMENTS_SCHEMA))


def _align_batch(root: Path, batch: Sequence[Utterance]) -> list[Alignment]:
    alignments = []
    with Speaker() as speaker:
        for item in batch:
            waveform, alignment = item.render(speaker)
            _check_recording(root / item.recording.path, to_pcm(waveform))
            alignments.append(alignment)
    return alignments


def _check_recording(path: Path, expected: np.ndarray) -> None:
    try:
        found, _ = soundfile.read(path, dtype="int16")
    except soundfile.LibsndfileError as error:
        raise ArtefactError(f"{path}: cannot be read ({error})") from None
    if found.shape != expected.shape or np.abs(found.astype(int) - expected).max() > SAME:
        raise ArtefactError(
            f"{path}: expected the recording that eSpeak NG makes of it, found another; "
            "synthesise the corpus again, with the same seed and sizes"
        )
