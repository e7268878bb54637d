"""Models from the Hugging Face hub: a pinned revision, and only files whose hash is right.

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
from pathlib import Path

from speechprompt.downloads.model_folder import (
    CONFIG,
    INDEX,
    ORIGIN,
    PREPROCESSOR,
    REPOSITORY,
    REVISION,
    WEIGHTS,
    files_of_weights,
)
from speechprompt.errors import AssetError
from speechprompt.runtime.progress import log
from speechprompt.storage.files import atomic_folder, write_json, write_text
from speechprompt.storage.hashes import sha256_file
from speechprompt.storage.locks import locked

__all__ = ["download_hub_model"]

# Digits of the hash of git and of SHA-256.
GIT, SHA256 = 40, 64
BLOCK_BYTES = 2**20
INSTALL = "pip install huggingface_hub"

# The place of a file in the cache, or None where the revision has no such file.
Fetch = Callable[[str], Path | None]


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
    if not REPOSITORY.fullmatch(repository):
        raise AssetError(
            f"repository: expected a name such as facebook/hubert-base-ls960, found {repository!r}"
        )
    if not REVISION.fullmatch(revision):
        raise AssetError(
            f"revision: expected a commit (40 hexadecimal digits), found {revision!r}; what a "
            "branch or tag names may change"
        )
    out = Path(out)
    with locked(out, tell=log):
        recorded = _read_record(out)
        if out.is_dir():
            sums = {path.name: sha256_file(path) for path in out.iterdir() if path.name != ORIGIN}
            _compare(recorded or sums, sums, f"{out}", "remove the folder to fetch it again")
        else:
            sums = _fetch_into(out, repository, revision, recorded)
        record = "".join(f"{sums[name]}  {name}\n" for name in sorted(sums))
        write_text(_record_path(out), record)


def _fetch_into(
    out: Path, repository: str, revision: str, recorded: dict[str, str] | None
) -> dict[str, str]:
    """Fetch the files, check them and write the folder; return the sums."""
    origin = f"{repository}@{revision[:8]}"
    with atomic_folder(out) as folder:
        for name, path in _choose(*_fetcher(repository, revision), origin).items():
            _copy_checked(path, folder / name, f"{origin}: {name}")
        sums = {path.name: sha256_file(path) for path in folder.iterdir()}
        if recorded is not None:
            way_out = f"remove {_record_path(out)} if you trust what is there now"
            _compare(recorded, sums, origin, way_out)
        write_json(folder / ORIGIN, {"repository": repository, "revision": revision})
    log(f"{origin}: {len(sums)} files, {sum(p.stat().st_size for p in out.iterdir()):,} bytes")
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


def _fetcher(repository: str, revision: str) -> tuple[Fetch, str]:
    """The function that fetches a file of a model into the hub's cache, and where it looks."""
    try:
        from huggingface_hub import constants, errors, hf_hub_download
    except ImportError as error:
        raise AssetError(
            f"{repository}: models of the Hugging Face hub need huggingface_hub ({error}); install "
            f"it: {INSTALL}"
        ) from error

    def fetch(name: str) -> Path | None:
        file = f"{repository}@{revision[:8]}: {name}"
        try:
            path = Path(hf_hub_download(repository, name, revision=revision))
        except errors.LocalEntryNotFoundError as error:
            if constants.is_offline_mode():
                return None  # of optional files the cache knows no more
            raise AssetError(
                f"{file}: {constants.ENDPOINT} does not answer ({_reason(error)}), and it is not "
                f"in the cache {constants.HF_HUB_CACHE}"
            ) from error
        except errors.RemoteEntryNotFoundError:
            return None
        except errors.RevisionNotFoundError as error:
            raise AssetError(f"{file}: the model has no revision {revision}") from error
        except (errors.RepositoryNotFoundError, errors.GatedRepoError) as error:
            raise AssetError(
                f"{file}: {constants.ENDPOINT} has no such model, or does not give it without a "
                "token that may read it; check the name, and set HF_TOKEN"
            ) from error
        except (OSError, ValueError, RuntimeError) as error:
            raise AssetError(f"{file}: cannot be fetched ({_reason(error)})") from error
        if path.parent.name != revision:
            raise AssetError(f"{file}: expected revision {revision}, found {path.parent.name}")
        return path

    if constants.is_offline_mode():
        return fetch, f"in the cache {constants.HF_HUB_CACHE}; HF_HUB_OFFLINE is set"
    return fetch, "in it"


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
