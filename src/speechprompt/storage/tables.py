"""Tables as text: Markdown for a page, aligned columns for a terminal."""

from collections.abc import Iterable, Sequence

__all__ = ["align_columns", "markdown_table"]


def markdown_table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table, with a line break at its end."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def align_columns(rows: Sequence[Sequence[str]], widths: Sequence[int] = ()) -> list[str]:
    """Lay out rows as lines of aligned columns, with two blanks between columns.

    Args:
        rows: Rows of equally many cells.
        widths: Width of each column; by default that of its longest cell.
    """
    widths = widths or [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
