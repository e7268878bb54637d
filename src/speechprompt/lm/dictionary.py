"""The unit LM's dictionary: four special symbols, then the units in the order of ``dict.txt``.

Everything outside :mod:`speechprompt.lm` counts units 0..K-1; only this package knows ids. The
order of the lines matters: the published CPC dictionary is sorted by frequency, not by number.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from speechprompt.errors import ArtefactError
from speechprompt.storage.files import write_text
from speechprompt.units.symbols import read_symbols

__all__ = ["END", "N_SPECIALS", "PAD", "SEPARATOR", "Dictionary", "read_dictionary"]

SEPARATOR = 0
"""Id of ``<s>``, which the method uses as the separator between units and labels."""
PAD = 1
END = 2
"""Id of ``</s>``, which begins and ends every sequence."""
UNKNOWN = 3
N_SPECIALS = 4
# What fairseq fills its dictionary up with, to a multiple of 8.
FILLER = re.compile(r"madeupword\d{4}")


class Dictionary:
    """Maps units 0..K-1 to ids and back.

    Args:
        units: the unit of every dictionary line, in id order; a permutation of 0..K-1.

    Raises:
        ArtefactError: ``units`` is not a permutation of 0..K-1.
    """

    def __init__(self, units: Iterable[int]) -> None:
        self.units = [int(unit) for unit in units]
        if sorted(self.units) != list(range(len(self.units))):
            raise ArtefactError(
                f"unit dictionary: expected each of the units 0..{len(self.units) - 1} once, "
                f"found {len(set(self.units))} distinct units in {len(self.units)} lines"
            )
        self._ids = np.empty(len(self.units), np.int64)
        self._ids[self.units] = np.arange(len(self.units)) + N_SPECIALS

    @property
    def n_units(self) -> int:
        """Number of units, K."""
        return len(self.units)

    @property
    def n_symbols(self) -> int:
        """Number of rows of the embedding: special symbols and units."""
        return N_SPECIALS + len(self.units)

    def ids(self, units: Sequence[int] | np.ndarray) -> np.ndarray:
        """Dictionary ids (int64) of units 0..K-1.

        Raises:
            ArtefactError: a unit outside the dictionary.
        """
        units = np.asarray(units, np.int64)
        if units.size and (units.min() < 0 or units.max() >= self.n_units):
            wrong = units.min() if units.min() < 0 else units.max()
            raise ArtefactError(
                f"unit {wrong} is outside the unit LM's dictionary (expected 0..{self.n_units - 1})"
            )
        return self._ids[units]

    def source(self, units: Sequence[int] | np.ndarray) -> np.ndarray:
        """A task's source ``</s> u1 … un <s>`` as ids."""
        return np.concatenate(([END], self.ids(units), [SEPARATOR]))

    def sentence(self, units: Sequence[int] | np.ndarray) -> np.ndarray:
        """A pre-training sequence ``</s> u1 … un </s>`` as ids."""
        return np.concatenate(([END], self.ids(units), [END]))

    def unit(self, id_: int) -> int:
        """The unit of an id, or -1 for a special symbol."""
        return self.units[id_ - N_SPECIALS] if id_ >= N_SPECIALS else -1

    @classmethod
    def read(cls, path: str | Path) -> Dictionary:
        """Read fairseq's ``dict.txt``, see :func:`read_dictionary`."""
        return read_dictionary(path)[0]

    def write(self, path: str | Path) -> None:
        """Write ``dict.txt``; the counts are 1."""
        write_text(path, "".join(f"{unit} 1\n" for unit in self.units))


def read_dictionary(path: str | Path) -> tuple[Dictionary, int]:
    """Read fairseq's ``dict.txt``, one ``symbol count`` a line.

    Returns:
        The units in order, and how many symbols behind them only fill the dictionary up.

    Raises:
        ArtefactError: the file is missing, or its symbols are not each of the units 0..K-1 once.
    """
    symbols = read_symbols(path, ArtefactError)
    n_filler = 0
    while n_filler < len(symbols) and FILLER.fullmatch(symbols[-1 - n_filler]):
        n_filler += 1
    try:
        return Dictionary(int(unit) for unit in symbols[: len(symbols) - n_filler]), n_filler
    except (ValueError, ArtefactError) as error:
        raise ArtefactError(
            f"{path}: expected lines of `unit count`, each unit 0..K-1 once ({error})"
        ) from error
