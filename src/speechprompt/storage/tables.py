"""Tables as text: Markdown for a page, aligned columns for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

__all__ = ["align_columns", "markdown_table"]


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, with a line break at its end."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def align_columns(rows: Sequence[Sequence[str]], widths: Sequence[int] = ()) -> list[str]:
    """A line per row, its cells below those of the row before, with two blanks between columns.

    Args:
        rows: Cells, as many in every row.
        widths: Width of each column; that of its longest cell where they are not given.
    """
    widths = widths or [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
