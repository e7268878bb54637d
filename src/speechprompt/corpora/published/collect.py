"""Collecting the folders of a published corpus: by download, or by links to the user's copy."""

import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from secrets import token_hex

from speechprompt.corpora.published.sources import SOURCES, Source
from speechprompt.downloads.archives import unpack
from speechprompt.downloads.assets import ASSETS, Asset
from speechprompt.downloads.download import fetch, recorded_sum
from speechprompt.errors import ArtefactError, ConfigError, CorpusError, some_of
from speechprompt.runtime.progress import log
from speechprompt.storage.files import atomic_folder, read_json, write_json
from speechprompt.storage.locks import locked

__all__ = ["RECORD", "download_corpus"]

RECORD = "corpus.json"


def download_corpus(
    kind: str,
    out_dir: str | Path,
    *,
    folders: Sequence[str] | None = None,
    root: str | Path | None = None,
    linked: str | Path | None = None,
    assets: Mapping[str, Asset] = ASSETS,
) -> Path:
    """Put the folders of a published corpus side by side, under their published names.

    Folders that an earlier run unpacked are kept, if no file of them was lost since. An archive is
    deleted once it is unpacked; its sum stays beside the folders. ``corpus.json`` is written last
    and names the origin of each folder and its files. Of several processes that collect a folder,
    one does and the others keep its result.

    Args:
        kind: The corpus, one of :data:`~speechprompt.corpora.published.sources.SOURCES`.
        out_dir: Folder for the corpus's folders and for ``corpus.json``.
        folders: The folders to collect; None collects all.
        root: An existing copy. Links to it are made, and nothing is downloaded.
        linked: A second folder that gets the folders, as hard links of all their files. A rule
            declares these: Snakemake deletes what is declared before a job, and nothing has to be
            downloaded again.
        assets: The archives by name.

    Returns:
        ``out_dir``.

    Raises:
        ConfigError: no such corpus.
        AssetError: a download fails, or an archive is not as expected.
        CorpusError: ``root`` lacks a folder, or a link would replace a real folder.
    """
    out_dir = Path(out_dir)
    if kind not in SOURCES:
        raise ConfigError(f"kind: expected one of {', '.join(SOURCES)}, found {kind!r}")
    sources = [item for item in SOURCES[kind] if folders is None or item.folder in folders]
    out_dir.mkdir(parents=True, exist_ok=True)
    sizes = _recorded_sizes(out_dir / RECORD)
    for source in sources:
        folder = out_dir / source.folder
        with locked(folder, tell=log):
            if root is None:
                _download(source, assets[source.asset], out_dir, sizes.get(source.folder, {}))
                sizes[source.folder] = _sizes(folder)
            else:
                _link(folder, _find_in_copy(source, Path(root), single=len(SOURCES[kind]) == 1))
            if linked is not None:
                _repeat(folder, Path(linked) / source.folder)
    with locked(out_dir / RECORD, tell=log):
        # All folders that are there by now, because another process may have added one.
        there = [source for source in SOURCES[kind] if (out_dir / source.folder).is_dir()]
        origins = {source.folder: _origin(source, out_dir, assets) for source in there}
        record = {"kind": kind, "folders": origins}
        sizes = _recorded_sizes(out_dir / RECORD) | sizes
        write_json(out_dir / RECORD, {**record, "sizes": sizes} if sizes else record)
    return out_dir


def _origin(source: Source, out_dir: Path, assets: Mapping[str, Asset]) -> dict[str, str | None]:
    """Where a folder is from."""
    folder, asset = out_dir / source.folder, assets[source.asset]
    if folder.is_symlink():
        return {"link": str(folder.resolve())}
    sha256 = recorded_sum(out_dir / asset.name)
    return {"url": asset.url, "sha256": sha256, "licence": asset.licence}


def _download(source: Source, asset: Asset, out_dir: Path, sizes: Mapping[str, int]) -> None:
    folder, archive = out_dir / source.folder, out_dir / asset.name
    recorded = recorded_sum(archive)
    if folder.is_dir() and not folder.is_symlink() and recorded is not None:
        if asset.sha256 in (None, recorded) and _is_whole(folder, sizes):
            log(f"{folder}: kept from an earlier download")
            return
        # The recorded sum is about to become that of the new archive, so the old folder goes first.
        shutil.rmtree(folder)
    unpacked = out_dir / f".{source.folder}.unpacked"
    found: list[Path] = []

    def find(asset: Asset, archive: Path) -> None:
        unpack(archive, unpacked, max_bytes=asset.max_unpacked)
        first = _first_with_marker(source, _places_in_archive(source, unpacked))
        if first is None:
            raise CorpusError(
                f"{archive}: expected a folder with {source.marker}, found {_listing(unpacked)}"
            )
        found.append(first)

    try:
        fetch(asset, archive, find)
        if not found:
            find(asset, archive)
        if folder.is_symlink():
            folder.unlink()
        elif folder.exists():
            shutil.rmtree(folder)
        os.sync()  # before the archive is deleted
        os.replace(found[0], folder)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)
    archive.unlink()


def _recorded_sizes(record: Path) -> dict[str, dict[str, int]]:
    """Size of every file of each folder that was unpacked; nothing without a whole record."""
    try:
        return read_json(record).get("sizes", {})
    except ArtefactError:
        return {}


def _sizes(folder: Path) -> dict[str, int]:
    """Size in bytes of every file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.stat().st_size for path in files}


def _is_whole(folder: Path, expected: Mapping[str, int]) -> bool:
    """Whether all files of an unpacked folder are there, with the sizes that they had."""
    found = _sizes(folder)
    if lost := [name for name, size in expected.items() if found.get(name) != size]:
        log(
            f"{folder}: {len(lost)} of {len(expected)} files are missing or have another size "
            f"({some_of(lost, 3)}); it is downloaded again"
        )
    return not lost


def _places_in_archive(source: Source, base: Path) -> Iterator[Path]:
    """Where the folder may be: below the archive's top or below any folder, or either of these."""
    yield base / source.folder
    yield from sorted(base.glob(f"*/{source.folder}"))
    yield base
    yield from sorted(base.iterdir())


def _find_in_copy(source: Source, root: Path, *, single: bool) -> Path:
    """Find a folder in the user's copy by its name; a single one may be the copy itself."""
    places = [root / source.folder, *sorted(root.glob(f"*/{source.folder}"))]
    if single or root.name == source.folder:
        places.append(root)
    found = _first_with_marker(source, places)
    if found is None:
        raise CorpusError(
            f"{root}: expected the folder {source.folder} with {source.marker} in it, "
            f"found {_listing(root)}"
        )
    return found.resolve()


def _first_with_marker(source: Source, places: Iterator[Path] | Sequence[Path]) -> Path | None:
    return next((path for path in places if any(path.glob(source.marker))), None)


def _link(link: Path, target: Path) -> None:
    """Make or replace a link atomically, so that a running job finds the old or the new one."""
    if link.exists() and not link.is_symlink():
        raise CorpusError(
            f"{link}: is a folder, from a download for instance; remove it to use the copy {target}"
        )
    temporary = link.with_name(f".{link.name}.{token_hex(4)}.link")
    temporary.symlink_to(target, target_is_directory=True)
    os.replace(temporary, link)


def _repeat(folder: Path, place: Path) -> None:
    """Let a folder appear in a second place; a link to the user's copy is a link there too."""
    if place.is_symlink():
        place.unlink()
    if not folder.is_symlink():
        with atomic_folder(place) as temporary:
            shutil.copytree(folder, temporary, copy_function=_hard_link, dirs_exist_ok=True)
        return
    shutil.rmtree(place, ignore_errors=True)
    place.parent.mkdir(parents=True, exist_ok=True)
    _link(place, folder.resolve())


def _hard_link(source: str, target: str) -> None:
    """Link a file, or copy it where the file system has no hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _listing(folder: Path) -> str:
    if not folder.is_dir():
        return "no such folder"
    return some_of(sorted(path.name for path in folder.iterdir()))
