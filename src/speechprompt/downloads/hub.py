"""From the Hugging Face hub: a pinned revision, and only files whose hash is right.

``huggingface_hub`` transfers them into its own cache, from which they are taken without a network,
too. It uses ``HF_TOKEN``, ``HF_ENDPOINT``, ``HF_HUB_CACHE`` and ``HF_HUB_OFFLINE``. A revision is a
commit, so that it names one content. The cache stores a file under the hash that the hub states:
SHA-256 for large files, that of git for others. The hub's word is not enough for a second time: the
first fetch records each file's SHA-256, and later ones must match.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from speechprompt.downloads.model_folder import (
    CONFIG,
    INDEX,
    ORIGIN,
    PREPROCESSOR,
    WEIGHTS,
    check_repository,
    check_revision,
    files_of_weights,
)
from speechprompt.errors import AssetError
from speechprompt.runtime.progress import log
from speechprompt.storage.files import atomic_folder, write_json, write_text
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.locks import locked

__all__ = ["download_hub_corpus", "download_hub_model"]

# Digits of the hash of git and of SHA-256.
GIT, SHA256 = 40, 64
BLOCK_BYTES = 2**20
INSTALL = "pip install huggingface_hub"

# The place of a file in the cache, or None where the revision has no such file.
Fetch = Callable[[str], Path | None]
# Chooses files, by their names in the repository, from what is fetched and what was recorded.
Choose = Callable[[dict[str, str] | None], dict[str, Path]]


def download_hub_model(repository: str, revision: str, out: str | Path) -> None:
    """Fetch a model from the Hugging Face hub, or from the hub's cache, and check it.

    ``{out}.sha256`` records the sums of its files, in the form of sha256sum.

    Args:
        repository: name of the model, such as facebook/hubert-base-ls960.
        revision: commit, 40 hexadecimal digits.
        out: folder to write: config.json, preprocessor_config.json if there is one, the weights,
            and origin.json with repository and revision.

    Raises:
        AssetError: a name is malformed, a file cannot be fetched, or its content is not the one
            that the hub or the record states; then nothing is written.
    """
    _check_name(repository, revision)
    origin = f"{repository}@{revision[:8]}"
    _download(
        repository, revision, Path(out), lambda _: _choose(*_fetcher(repository, revision), origin)
    )


def download_hub_corpus(
    repository: str, revision: str, out: str | Path, files: str = "*.parquet"
) -> None:
    """Fetch files of a data set as :func:`download_hub_model` fetches a model.

    Args:
        repository: name of the data set, such as google/fleurs.
        revision: commit, 40 hexadecimal digits.
        out: folder to write: the files under their names, and origin.json.
        files: pattern of the files' names, with folders.

    Raises:
        AssetError: as for a model, or no file has such a name.
    """
    _check_name(repository, revision)
    fetch, place = _fetcher(repository, revision, "dataset")

    def choose(recorded: dict[str, str] | None) -> dict[str, Path]:
        names = recorded or _list_files(repository, revision)
        chosen = {name: path for name in names if fnmatch(name, files) if (path := fetch(name))}
        if not chosen:
            raise AssetError(
                f"{repository}@{revision[:8]}: expected files {files}, found none {place}"
            )
        return chosen

    _download(repository, revision, Path(out), choose)


def _check_name(repository: str, revision: str) -> None:
    try:
        check_repository(repository, "facebook/hubert-base-ls960")
        check_revision(revision)
    except ValueError as error:
        raise AssetError(str(error)) from None


def _download(repository: str, revision: str, out: Path, choose: Choose) -> None:
    with locked(out, tell=log):
        recorded = _read_record(out)
        if out.is_dir():
            sums = _sums_of(out)
            _compare(recorded or sums, sums, f"{out}", "remove the folder to fetch it again")
        else:
            sums = _fetch_into(out, repository, revision, recorded, choose)
        record = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
        write_text(_record_path(out), record)


def _sums_of(folder: Path) -> dict[str, str]:
    """SHA-256 of the files of a folder, by their names below it."""
    files = (path for path in folder.rglob("*") if path.is_file())
    named = {path.relative_to(folder).as_posix(): path for path in files}
    return {name: sha256_file(path) for name, path in named.items() if name != ORIGIN}


def _fetch_into(
    out: Path, repository: str, revision: str, recorded: dict[str, str] | None, choose: Choose
) -> dict[str, str]:
    """Fetch the files, check them and write the folder; return the sums."""
    origin = f"{repository}@{revision[:8]}"
    n_bytes = 0
    with atomic_folder(out) as folder:
        for name, path in choose(recorded).items():
            target = folder / name
            if not target.resolve().is_relative_to(folder.resolve()):
                raise AssetError(f"{origin}: a file's name leads out of the folder: {name!r:.200}")
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy_checked(path, target, f"{origin}: {name}")
            n_bytes += target.stat().st_size
        sums = _sums_of(folder)
        if recorded is not None:
            way_out = f"remove {_record_path(out)} if you trust what is there now"
            _compare(recorded, sums, origin, way_out)
        write_json(folder / ORIGIN, {"repository": repository, "revision": revision})
    log(f"{origin}: {len(sums)} files, {n_bytes:,} bytes")
    return sums


def _choose(fetch: Fetch, place: str, origin: str) -> dict[str, Path]:
    """Fetch the files that an import reads; of several forms of weights, the first there is."""
    found = {name: path for name in (CONFIG, PREPROCESSOR) if (path := fetch(name))}
    if CONFIG not in found:
        raise AssetError(f"{origin}: expected a model of transformers, found no {CONFIG} {place}")
    for name in WEIGHTS:
        if path := fetch(name):
            found[name] = path
            break
    else:
        raise AssetError(f"{origin}: expected weights ({', '.join(WEIGHTS)}), found none {place}")
    if name.endswith(INDEX):
        for part in sorted(set(files_of_weights(path).values())):
            if (fetched := fetch(part)) is None:
                raise AssetError(f"{origin}: {name} lists {part}, found none {place}")
            found[part] = fetched
    return found


def _fetcher(repository: str, revision: str, kind: str = "model") -> tuple[Fetch, str]:
    """The function that fetches a file into the hub's cache, and where it looks."""
    hub = _library(repository)

    def fetch(name: str) -> Path | None:
        file = f"{repository}@{revision[:8]}: {name}"
        try:
            found = hub.hf_hub_download(repository, name, revision=revision, repo_type=kind)
        except hub.errors.LocalEntryNotFoundError as error:
            if hub.constants.is_offline_mode():
                return None  # of optional files the cache knows no more
            raise AssetError(
                f"{file}: {hub.constants.ENDPOINT} does not answer ({_reason(error)}), and it is "
                f"not in the cache {hub.constants.HF_HUB_CACHE}"
            ) from error
        except hub.errors.RemoteEntryNotFoundError:
            return None
        except (OSError, ValueError, RuntimeError) as error:
            raise _failure(hub, file, revision, kind, error) from error
        path = Path(found)
        commit = path.parents[name.count("/")].name
        if commit != revision:
            raise AssetError(f"{file}: expected revision {revision}, found {commit}")
        return path

    if hub.constants.is_offline_mode():
        return fetch, f"in the cache {hub.constants.HF_HUB_CACHE}; HF_HUB_OFFLINE is set"
    return fetch, "in it"


def _list_files(repository: str, revision: str) -> list[str]:
    """Names of the files of a data set, which only the hub itself knows."""
    hub, origin = _library(repository), f"{repository}@{revision[:8]}"
    try:
        return list(hub.HfApi().list_repo_files(repository, revision=revision, repo_type="dataset"))
    except (OSError, ValueError, RuntimeError) as error:
        raise _failure(hub, f"{origin}: the list of files", revision, "dataset", error) from error


def _library(repository: str) -> Any:
    try:
        import huggingface_hub
        from huggingface_hub import constants, errors  # noqa: F401
    except ImportError as error:
        raise AssetError(
            f"{repository}: what is on the Hugging Face hub needs huggingface_hub ({error}); "
            f"install it: {INSTALL}"
        ) from error
    return huggingface_hub


def _failure(hub: Any, file: str, revision: str, kind: str, error: BaseException) -> AssetError:
    """What is said of an error of the hub's library."""
    thing = "model" if kind == "model" else "data set"
    if isinstance(error, hub.errors.RevisionNotFoundError):
        return AssetError(f"{file}: the {thing} has no revision {revision}")
    if isinstance(error, hub.errors.RepositoryNotFoundError | hub.errors.GatedRepoError):
        return AssetError(
            f"{file}: {hub.constants.ENDPOINT} has no such {thing}, or does not give it without a "
            "token that may read it; check the name, and set HF_TOKEN"
        )
    return AssetError(f"{file}: cannot be fetched ({_reason(error)})")


def _reason(error: BaseException) -> str:
    """The first line of the innermost error."""
    while error.__cause__ is not None:
        error = error.__cause__
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]


def _copy_checked(path: Path, out: Path, name: str) -> None:
    """Copy a file from the cache, whose link says its hash.

    Raises:
        AssetError: the content is another, or the cache keeps no hashes.
    """
    expected = Path(os.readlink(path)).name if path.is_symlink() else ""
    if not re.fullmatch(rf"[0-9a-f]{{{GIT}}}|[0-9a-f]{{{SHA256}}}", expected):
        raise AssetError(
            f"{name}: its hash is not known, because {path} is no link into the cache; set "
            "HF_HUB_CACHE to a folder on a file system with links"
        )
    size = path.stat().st_size
    digest = hashlib.sha256() if len(expected) == SHA256 else hashlib.sha1(b"blob %d\0" % size)
    with path.open("rb") as source, out.open("wb") as target:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            target.write(block)
    if (found := digest.hexdigest()) != expected:
        raise AssetError(
            f"{name}: expected the hash {expected}, which the hub states, found {found}: it is "
            f"damaged or something else answered; remove {path.resolve()} to fetch it again"
        )
    shutil.copymode(path, out)


def _compare(expected: dict[str, str], found: dict[str, str], origin: str, way_out: str) -> None:
    """Compare sums by file name."""
    for name in sorted(expected.keys() | found.keys()):
        if expected.get(name) != found.get(name):
            raise AssetError(
                f"{origin}: {name}: expected the SHA-256 {expected.get(name, 'of no such file')} "
                f"(recorded), found {found.get(name, 'no such file')}; {way_out}"
            )


def _record_path(out: Path) -> Path:
    return out.with_name(f"{out.name}.sha256")


def _read_record(out: Path) -> dict[str, str] | None:
    """The sums of an earlier fetch; None before the first."""
    path = _record_path(out)
    if not path.is_file():
        return None
    lines = [line.split("  ", 1) for line in path.read_text(encoding="utf-8").splitlines()]
    if not lines or not all(len(line) == 2 and len(line[0]) == SHA256 for line in lines):
        raise AssetError(f"{path}: expected lines 'SHA-256  name'; remove the file")
    return {name: sha256 for sha256, name in lines}
