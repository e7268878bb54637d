"""Text of unknown origin, such as names of files, on its way to a terminal or a sheet."""

import re

__all__ = ["cell_text", "printable"]

# What moves the cursor, changes colours, breaks lines or turns the direction of what follows.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
FORMULAS = ("=", "+", "-", "@", "\t", "\r")


def printable(text: str, *, lines: bool = False, tabs: bool = False) -> str:
    """Write control characters as escapes; all other text stays as it is.

    JSON stays JSON, because it has no raw characters below the blank.

    Args:
        text: What is to be shown.
        lines: Keep line breaks, in text that has several lines on purpose.
        tabs: Keep tabs, in text that has columns on purpose.
    """

    kept = "\n" * lines + "\t" * tabs

    def escaped(match: re.Match[str]) -> str:
        if match[0] in kept:
            return match[0]
        if match[0] < " ":
            return {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(match[0], f"\\x{ord(match[0]):02x}")
        return f"\\u{ord(match[0]):04x}"

    return CONTROLS.sub(escaped, text)


def cell_text(text: str) -> str:
    """Text for a cell of a sheet, which takes none of it for a formula."""
    return printable(f"'{text}" if text.startswith(FORMULAS) else text)
