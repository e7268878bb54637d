"""Units as text, and fairseq's ``dict.txt``: the symbols of a unit LM in its embedding's order."""

from pathlib import Path

from speechprompt.errors import SpeechPromptError
from speechprompt.storage.files import text_lines

__all__ = ["LONGEST_UNIT", "read_symbols", "unit_of"]

LONGEST_UNIT = 9  # digits, more than any codebook needs


def unit_of(text: str) -> int | None:
    """The number of a unit; None for any other text."""
    is_unit = text.isascii() and text.isdecimal() and len(text) <= LONGEST_UNIT
    return int(text) if is_unit else None


def read_symbols(path: str | Path, error: type[SpeechPromptError]) -> list[str]:
    """Read the symbols of a dictionary, which has one ``symbol count`` per line.

    Args:
        path: The file.
        error: Class of the error to raise.

    Raises:
        SpeechPromptError: the file cannot be read, or a line is not as described; the error has
            the given class.
    """
    symbols = []
    for number, line in text_lines(path, error):
        fields = line.split()
        if len(fields) < 2 or not fields[1].isdecimal():
            raise error(f"{path}:{number}: expected 'symbol count', found {line!r}")
        symbols.append(fields[0])
    return symbols
