"""Data files of the package's own modules: word lists, page templates."""

from pathlib import Path

__all__ = ["data_file", "data_files"]

FOLDER = "data"


def data_file(module_file: str | Path, suffix: str) -> Path:
    """The data file of a module: it has the module's name, in the folder ``data`` beside it.

    Code digests include the data files that are found in this way.

    Args:
        module_file: The module's ``__file__``.
        suffix: Ending of the data file, such as ``.yaml``.
    """
    path = Path(module_file)
    return path.parent / FOLDER / f"{path.stem}{suffix}"


def data_files(module_file: str | Path) -> list[Path]:
    """All files that :func:`data_file` may return for a module."""
    path = Path(module_file)
    return sorted((path.parent / FOLDER).glob(f"{path.stem}.*"))
