"""Labels of generated answers: the characters of a transcript, and the marks of slots in it.

Every character is a label. Every slot type opens with a label of its own, and all slots close with
one that they share. The paper's 69 classes of Audio SNIPS are 29 characters, 39 slot types and one
closing. In writing, an answer is readable text:

    PLAY [artist:MADONNA] ON [service:SPOTIFY]

A bracket, colon or backslash in a slot type has a backslash before it there.
"""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import pyarrow as pa

from speechprompt.errors import CorpusError
from speechprompt.units.unit_files import read_column

__all__ = ["UNKNOWN", "SlotFilling", "Transcription", "parse_slots"]

CLOSING = "]"
UNKNOWN = "\N{REPLACEMENT CHARACTER}"
"""Stands for a unit that is not a label, in free decoding; it differs from every character."""

_MARKS = re.compile(r"\[((?:[^\[\]:\\]|\\.)+):|\]")
_SYMBOLS = re.compile(r"\[(?:[^\[\]:\\]|\\.)+:|.", re.DOTALL)


@dataclass(frozen=True)
class Transcription:
    """The characters of the train transcripts, in order of first appearance.

    Text is compared as SUPERB does: upper case, single blanks between words. Its characters are
    composed (Unicode's form NFC).
    """

    type: ClassVar[str] = "transcription"
    columns: tuple[str, ...]
    symbols: tuple[str, ...]
    allowed: ClassVar[None] = None

    @classmethod
    def from_train(cls, table: pa.Table, columns: Sequence[str], origin: str) -> Self:
        """Collect the symbols of train.

        Raises:
            CorpusError: as for :meth:`references`, or all texts are empty.
        """
        answers = cls(tuple(columns), ()).references(table, origin)
        symbols = dict.fromkeys(s for answer in answers for s in cls.split(answer))
        if not symbols:
            raise CorpusError(f"{origin}: column {columns[0]!r} has no text to learn from")
        return cls(tuple(columns), tuple(symbols))

    @property
    def names(self) -> list[str]:
        """The name of each label index."""
        return list(self.symbols)

    @classmethod
    def split(cls, answer: str) -> list[str]:
        """The symbols of an answer in writing."""
        return list(answer)

    def unknown(self, answer: str) -> list[str]:
        """The symbols of an answer that train never had, by name and code point."""
        found = dict.fromkeys(symbol for symbol in self.split(answer) if symbol not in self.symbols)
        return [name_symbol(symbol) for symbol in found]

    def references(self, table: pa.Table, origin: str) -> list[str]:
        """The reference of every row, in writing.

        Raises:
            CorpusError: a column is missing; ``origin`` names the file.
        """
        return [_normalise(text) for text in read_column(table, self.columns[0], origin)]

    def encode(self, answer: str) -> list[int]:
        """Label indices of an answer in writing.

        Raises:
            ValueError: the answer has a symbol that train never had.
        """
        return [self.symbols.index(symbol) for symbol in self.split(answer)]

    def decode(self, indices: Sequence[int]) -> str:
        """The answer behind label indices, well formed or not; -1 is not a label."""
        return "".join(self.symbols[index] if index >= 0 else UNKNOWN for index in indices)

    def state(self) -> dict[str, Any]:
        """What :func:`~speechprompt.tasks.labels.restore_labels` needs."""
        return {"type": self.type, "columns": self.columns, "symbols": self.symbols}


@dataclass(frozen=True)
class SlotFilling(Transcription):
    """Characters and slot marks; the columns are the text and one IOB tag per word."""

    type: ClassVar[str] = "slot_filling"

    @classmethod
    def split(cls, answer: str) -> list[str]:
        """The symbols of an answer in writing; the opening of a slot is one."""
        return _SYMBOLS.findall(answer)

    def references(self, table: pa.Table, origin: str) -> list[str]:
        """The reference of every row, in writing.

        Raises:
            CorpusError: a column is missing, a text has marks of its own, or there are not as many
                tags as words; ``origin`` names the file.
        """
        texts, tags = (read_column(table, column, origin) for column in self.columns)
        answers = []
        for utt_id, text, row in zip(table["utt_id"].to_pylist(), texts, tags, strict=True):
            words, marks = _normalise(text).split(), (row or "").split()
            if len(words) != len(marks):
                raise CorpusError(
                    f"{origin}: utterance {utt_id!r}: expected one tag per word, found "
                    f"{len(words)} words and {len(marks)} tags"
                )
            if wrong := next((mark for mark in marks if not re.match("O$|[BI]-.", mark)), None):
                raise CorpusError(
                    f"{origin}: utterance {utt_id!r}: expected tags O, B-type or I-type, "
                    f"found {wrong!r}"
                )
            if re.search(r"[\[\]]", text or ""):
                raise CorpusError(f"{origin}: utterance {utt_id!r}: a text has no '[' or ']'")
            answers.append(_mark(words, marks))
        return answers


def parse_slots(answer: str) -> tuple[str, list[tuple[str, str]]]:
    """Split an answer into its text without marks and its slots, (type, value) in order.

    Any sequence of labels can be read. A slot that is not closed ends at the next opening or at the
    end, and a closing without an opening is ignored.
    """
    slots: list[tuple[str, str]] = []
    open_type: str | None = None
    value_start = end = 0
    for match in [*_MARKS.finditer(answer), None]:
        end = match.start() if match else len(answer)
        if open_type is not None:
            slots.append((open_type, _normalise(answer[value_start:end])))
        open_type = re.sub(r"\\(.)", r"\1", match[1]) if match and match[1] else None
        value_start = match.end() if match else end
    return _normalise(_MARKS.sub("", answer)), slots


def _mark(words: Sequence[str], tags: Sequence[str]) -> str:
    """Mark the slots in a text from IOB tags; an I without its B opens a slot."""
    written, current = [], None
    for i, (word, tag) in enumerate(zip(words, tags, strict=True)):
        slot = None if tag == "O" else tag[2:]
        if slot is not None and (tag.startswith("B-") or slot != current):
            escaped = re.sub(r"([][:\\])", r"\\\1", slot)
            word = f"[{escaped}:{word}"
        following = tags[i + 1] if i + 1 < len(tags) else "O"
        written.append(word + (CLOSING if slot is not None and following != f"I-{slot}" else ""))
        current = slot
    return " ".join(written)


def name_symbol(symbol: str) -> str:
    """A symbol for a message: itself and, unless it is plain, its code point and name."""
    if len(symbol) > 1 or (symbol.isascii() and symbol.isprintable()):
        return repr(symbol)
    return f"{symbol!r} (U+{ord(symbol):04X} {unicodedata.name(symbol, 'without a name')})"


def _normalise(text: str | None) -> str:
    return " ".join(unicodedata.normalize("NFC", (text or "").upper()).split())
