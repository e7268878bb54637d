"""Comparison of units with other units of the same recordings, to check that they agree."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from rapidfuzz.distance import Levenshtein

from speechprompt.audio.paths import ENDINGS, UNREADABLE
from speechprompt.errors import ArtefactError
from speechprompt.storage.parquet import read_parquet
from speechprompt.units.text_forms import read_lines
from speechprompt.units.unit_files import read_units

__all__ = ["Comparison", "Difference", "compare_units", "describe_comparison"]

CONTEXT = 5
# Units that a text may have; what its codebook is, it does not say.
LARGEST_CODEBOOK = 2**15


@dataclass(frozen=True)
class Difference:
    """An utterance that differs, and the units around the first difference."""

    utt_id: str
    position: int
    ours: tuple[int, ...]
    reference: tuple[int, ...]
    edits: int


@dataclass(frozen=True)
class Comparison:
    """The agreement of two sets of units.

    Attributes:
        n_ours, n_reference: number of utterances on each side.
        n_compared: number of utterances on both sides.
        n_equal: number of those whose units are all the same.
        n_edits: substitutions, deletions and insertions in the utterances on both sides.
        n_units: number of the reference's units in them.
        differences: the first utterances that differ, in the reference's order.
        hints: differences that concern all utterances.
    """

    n_ours: int
    n_reference: int
    n_compared: int
    n_equal: int
    n_edits: int
    n_units: int
    differences: list[Difference]
    hints: list[str]

    @property
    def unit_error_rate(self) -> float:
        """Edits over reference units, as a fraction."""
        return self.n_edits / max(1, self.n_units)


def compare_units(ours: str | Path, reference: str | Path, shown: int = 5) -> Comparison:
    """Compare units utterance by utterance.

    Utterances of the same name are matched first. The others are matched by file name without the
    ending of an audio file, with as many of its folders as both sides share.

    Args:
        ours: an index.json, a units file (Parquet), or lines of text in one of the forms of
            :mod:`~speechprompt.units.text_forms` that have names.
        reference: likewise.
        shown: the most differing utterances to list.

    Raises:
        ArtefactError: a file is none of these, or the two have no utterance in common.
    """
    left, right = _read(Path(ours)), _read(Path(reference))
    matched = _match(list(left), list(right))
    if not matched:
        raise ArtefactError(
            f"{ours} and {reference}: no utterance in common; names are such as "
            f"{next(iter(left), None)!r} and {next(iter(right), None)!r}"
        )
    pairs = [(other, left[name], right[other]) for name, other in matched]
    edits = [Levenshtein.distance(found, expected) for _, found, expected in pairs]
    differing = [(*pair, n) for pair, n in zip(pairs, edits, strict=True) if n]
    return Comparison(
        n_ours=len(left),
        n_reference=len(right),
        n_compared=len(matched),
        n_equal=edits.count(0),
        n_edits=sum(edits),
        n_units=sum(len(expected) for _, _, expected in pairs),
        differences=[_difference(*found) for found in differing[:shown]],
        hints=_hints(pairs),
    )


def describe_comparison(found: Comparison) -> str:
    """Describe a comparison in a few lines of text."""
    lines = [
        f"utterances: {found.n_compared} compared, of {found.n_ours} and {found.n_reference}",
        f"agree exactly: {found.n_equal} ({100 * found.n_equal / found.n_compared:.2f} %)",
        f"unit error rate: {100 * found.unit_error_rate:.2f} % "
        f"({found.n_edits} edits over {found.n_units} reference units)",
        *found.hints,
    ]
    for item in found.differences:
        lines += [
            f"{item.utt_id}: {item.edits} edits, the first at unit {item.position}",
            f"  ours       {' '.join(map(str, item.ours))}",
            f"  reference  {' '.join(map(str, item.reference))}",
        ]
    return "\n".join(lines)


def _read(path: Path) -> dict[str, list[int]]:
    """Read units by the path or, without paths, the id of their utterance."""
    if path.suffix not in (".json", ".parquet"):
        return _read_text(path)
    table = read_units(path) if path.suffix == ".json" else read_parquet(path)
    try:
        names, units = table["utt_id"].to_pylist(), table["units"].to_pylist()
    except KeyError as error:
        raise ArtefactError(f"{path}: expected a units file ({error})") from None
    paths = table["path"].to_pylist() if "path" in table.column_names else names
    # Parts of one recording have the same file.
    pairs = zip(paths, names, strict=True)
    named = (stored if stored and "#" not in stored else name for stored, name in pairs)
    return dict(zip(named, units, strict=True))


def _read_text(path: Path) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for line in read_lines(path, LARGEST_CODEBOOK, ArtefactError):
        where = f"{path}:{line.number}"
        if not line.name:
            raise ArtefactError(
                f"{where}: expected units with a name, as in 'file|units', found {line.text!r}"
            )
        if found.setdefault(line.name, line.units) != line.units:
            raise ArtefactError(f"{where}: {line.name!r} has other units further up")
    return found


def _match(left: Sequence[str], right: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs of names, in the order of the right side.

    Names that are the same are a pair. Others are one if they end alike, as long as possible.
    """
    same = {name: name for name in {*left} & {*right}}
    deepest = max((len(PurePosixPath(name).parts) for name in (*left, *right)), default=0)
    for depth in range(deepest, 0, -1):
        ours, theirs = _by_ending(left, depth), _by_ending(right, depth)
        alike = {name: ours[key] for key, name in theirs.items() if key in ours}
        if partners := alike | same:
            return [(partners[name], name) for name in right if name in partners]
    return []


def _by_ending(names: Sequence[str], depth: int) -> dict[tuple[str, ...], str]:
    """Names by their last parts, without those whose last parts are not distinct.

    The ending of an audio file is no part of a name; any other dot is.
    """
    found: dict[tuple[str, ...], str | None] = {}
    for name in names:
        path = PurePosixPath(name)
        if path.suffix.lower() in (*ENDINGS, *UNREADABLE):
            path = path.with_suffix("")
        key = path.parts[-depth:]
        found[key] = None if key in found else name
    return {key: name for key, name in found.items() if name is not None}


def _difference(name: str, ours: list[int], reference: list[int], edits: int) -> Difference:
    pairs = enumerate(zip(ours, reference, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(ours), len(reference)))
    window = slice(max(0, at - CONTEXT), at + CONTEXT + 1)
    return Difference(name, at, tuple(ours[window]), tuple(reference[window]), edits)


def _hints(pairs: Sequence[tuple[str, list[int], list[int]]]) -> list[str]:
    ours, reference = (
        any(a == b for pair in pairs for a, b in pairwise(pair[side])) for side in (1, 2)
    )
    if ours == reference:
        return []
    side = "ours" if ours else "the reference"
    return [f"only {side} has repeated units: one of the two has been de-duplicated"]
