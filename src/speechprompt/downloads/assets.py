"""The table of published files that a run may download; ``data/assets.yaml`` holds it."""

from dataclasses import dataclass

import yaml

from speechprompt.storage.package_data import data_file

__all__ = ["ASSETS", "MODELS", "Asset"]


@dataclass(frozen=True, slots=True)
class Asset:
    """One published file.

    Attributes:
        name: File name it is kept under.
        url: Where it is.
        licence: The licence its publisher states.
        sha256: Hex SHA-256, or None where none is published: the first download then sets it
            (:func:`speechprompt.downloads.download.fetch`).
        size: Bytes, or None where the size is not known.
        max_unpacked: The most bytes that the archive may unpack to; 0 for other files.
        is_model: Whether it is a model, not a corpus.
        layers: Transformer or LSTM layers of an encoder; None for all others.
    """

    name: str
    url: str
    licence: str
    sha256: str | None = None
    size: int | None = None
    max_unpacked: int = 0
    is_model: bool = False
    layers: int | None = None


def _read_assets() -> dict[str, Asset]:
    # libyaml reads the table in a few milliseconds, Python's own reader takes ten times as long.
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    table = yaml.load(data_file(__file__, ".yaml").read_text(encoding="utf-8"), loader)
    return {
        name: Asset(name, is_model=part == "models", **entry)
        for part, entries in table.items()
        for name, entry in entries.items()
    }


ASSETS = _read_assets()
MODELS = [name for name, asset in ASSETS.items() if asset.is_model]
