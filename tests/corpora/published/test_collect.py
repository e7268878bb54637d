from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from speechprompt.cli import main
from speechprompt.corpora.published.collect import RECORD, download_corpus
from speechprompt.corpora.published.sources import SOURCES
from speechprompt.downloads.assets import ASSETS
from speechprompt.errors import AssetError, CorpusError
from speechprompt.storage.files import read_json

RELEASE = {
    "fsdd-1.0.10/README.md": b"no",
    "fsdd-1.0.10/recordings/1_ann_0.wav": b"one",
    "fsdd-1.0.10/recordings/2_ann_0.wav": b"two",
}


def tree(folder) -> dict[str, bytes]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != RECORD)
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def offer(host):
    """Offer archives in place of the published ones; the table to collect with."""

    def serve(**archives: bytes):
        names = {name.replace("__", "."): content for name, content in archives.items()}
        return ASSETS | {
            name: replace(ASSETS[name], url=host.serve(name, content), sha256=None, size=None)
            for name, content in names.items()
        }

    return serve


def test_a_download_is_unpacked_once_and_pinned(tmp_path, host, tar, offer):
    out = tmp_path / "digits"
    assets = offer(fsdd__tar__gz=tar(RELEASE))
    host.statuses.append(503)
    assert download_corpus("fsdd", out, assets=assets) == out
    recorded = (out / "fsdd.tar.gz.sha256").read_text()
    assert tree(out) == {
        "fsdd.tar.gz.sha256": recorded.encode(),
        "recordings/1_ann_0.wav": b"one",
        "recordings/2_ann_0.wav": b"two",
    }
    record = read_json(out / RECORD)
    assert record["folders"]["recordings"] == {
        "url": assets["fsdd.tar.gz"].url,
        "sha256": recorded.split()[0],
        "licence": "CC BY-SA 4.0",
    }

    asked = len(host.requests)
    assets = offer(fsdd__tar__gz=tar(RELEASE | {"fsdd-1.0.10/recordings/3_a_0.wav": b"3"}))
    before = (out / RECORD).read_bytes()
    download_corpus("fsdd", out, assets=assets)
    assert (out / RECORD).read_bytes() == before
    assert len(host.requests) == asked

    (out / "recordings").rename(tmp_path / "moved")
    with pytest.raises(AssetError, match="recorded in"):
        download_corpus("fsdd", out, assets=assets)
    assert not (out / "recordings").exists()
    (out / "fsdd.tar.gz.sha256").unlink()
    download_corpus("fsdd", out, assets=assets)
    assert len(tree(out / "recordings")) == 3


@pytest.mark.parametrize("harm", [Path.unlink, lambda path: path.write_bytes(b"")])
def test_a_folder_that_lost_files_is_not_kept(tmp_path, host, tar, offer, harm, capsys):
    out, linked = tmp_path / "digits", tmp_path / "root"
    assets = offer(fsdd__tar__gz=tar(RELEASE))
    download_corpus("fsdd", out, assets=assets, linked=linked)
    asked = len(host.requests)
    shutil.rmtree(linked)
    download_corpus("fsdd", out, assets=assets, linked=linked)
    assert len(host.requests) == asked
    harm(out / "recordings/2_ann_0.wav")
    download_corpus("fsdd", out, assets=assets, linked=linked)
    assert "1 of 2 files are missing or have another size (2_ann_0.wav)" in capsys.readouterr().err
    assert len(host.requests) == asked + 1
    for folder in (out / "recordings", linked / "recordings"):
        assert tree(folder) == {"1_ann_0.wav": b"one", "2_ann_0.wav": b"two"}


def test_another_published_sum_replaces_the_folder(tmp_path, tar, offer):
    out = tmp_path / "digits"
    download_corpus("fsdd", out, assets=offer(fsdd__tar__gz=tar(RELEASE)))
    assets = offer(fsdd__tar__gz=tar({"x/recordings/7_bo_0.wav": b"7"}))
    wrong = {"fsdd.tar.gz": replace(assets["fsdd.tar.gz"], sha256="0" * 64)}
    with pytest.raises(AssetError, match="published"):
        download_corpus("fsdd", out, assets=wrong)
    assert not (out / "recordings").exists()


def test_flat_and_nested_archives(tmp_path, tar, offer):
    assets = offer(
        speech_commands_v0__01__tar__gz=tar(
            {"./yes/a_nohash_0.wav": b"1", "./_background_noise_/n.wav": b"2"}
        ),
        speech_commands_test_set_v0__01__tar__gz=tar({"./_silence_/s.wav": b"3"}),
    )
    download_corpus("speech_commands", tmp_path / "ks", assets=assets)
    assert [name for name in tree(tmp_path / "ks") if name.endswith("wav")] == [
        "speech_commands_test_set_v0.01/_silence_/s.wav",
        "speech_commands_v0.01/_background_noise_/n.wav",
        "speech_commands_v0.01/yes/a_nohash_0.wav",
    ]
    assets = {
        name: asset
        for subset in ("dev-clean", "test-clean")
        for name, asset in offer(
            **{
                f"{subset}__tar__gz": tar(
                    {
                        "LibriSpeech/README.TXT": b"",
                        f"LibriSpeech/{subset}/1/2/1-2.trans.txt": b"1-2-0000 A\n",
                    }
                )
            }
        ).items()
        if name.startswith(subset)
    }
    out = tmp_path / "asr"
    download_corpus("librispeech", out, folders=["test-clean", "dev-clean"], assets=assets)
    assert [name for name in tree(out) if name.endswith(".txt")] == [
        "dev-clean/1/2/1-2.trans.txt",
        "test-clean/1/2/1-2.trans.txt",
    ]


def test_a_bad_archive_leaves_no_folder(tmp_path, tar, offer):
    out = tmp_path / "digits"
    for files, message in (
        ({"a/recordings/1_a_0.wav": b"", "../../evil": b""}, "would leave the folder"),
        ({"a/readme": b""}, r"expected a folder with \*_\*_\*\.wav, found a"),
    ):
        with pytest.raises((AssetError, CorpusError), match=message):
            download_corpus("fsdd", out, assets=offer(fsdd__tar__gz=tar(files)))
        assert [path.name for path in out.iterdir() if path.is_dir()] == []
        assert not (out / RECORD).exists()
        for path in out.iterdir():
            path.unlink()
    bomb = offer(fsdd__tar__gz=tar({"a/recordings/1_a_0.wav": bytes(5000)}))
    small = {"fsdd.tar.gz": replace(bomb["fsdd.tar.gz"], max_unpacked=4999)}
    with pytest.raises(AssetError, match="more than the 4999 bytes"):
        download_corpus("fsdd", out, assets=small)


@pytest.mark.parametrize("below", ["", "recordings", "data/recordings"])
def test_a_copy_is_linked_wherever_its_folder_is(tmp_path, record, below):
    copy = tmp_path / "copy"
    record(copy / below, "1_ann_0.wav")
    before = tree(copy)
    out = tmp_path / "run" / "digits"
    # By the command, because the path goes through it.
    command = ["download-corpus", "--kind", "fsdd", "--root", str(copy), "--out", str(out)]
    assert main(command) == 0
    assert (out / "recordings").is_symlink()
    assert (out / "recordings/1_ann_0.wav").read_bytes() == before[
        f"{below}/1_ann_0.wav".strip("/")
    ]
    assert read_json(out / RECORD) == {
        "kind": "fsdd",
        "folders": {"recordings": {"link": str(copy / below)}},
    }
    assert main(command) == 0
    assert tree(copy) == before


def test_a_link_and_a_download_take_each_others_place(tmp_path, record, tar, offer):
    record(tmp_path / "copy", "5_cy_0.wav")
    before, out = tree(tmp_path / "copy"), tmp_path / "digits"
    download_corpus("fsdd", out, root=tmp_path / "copy")
    download_corpus("fsdd", out, assets=offer(fsdd__tar__gz=tar(RELEASE)))
    assert not (out / "recordings").is_symlink()
    assert len(tree(out / "recordings")) == 2
    assert tree(tmp_path / "copy") == before
    with pytest.raises(CorpusError, match="is a folder, from a download for instance; remove it"):
        download_corpus("fsdd", out, root=tmp_path / "copy")
    assert len(tree(out / "recordings")) == 2


def test_a_copy_without_the_folders_is_refused(tmp_path, record):
    copy = tmp_path / "copy"
    for folder in ("speech_commands_v0.02", "speech_commands_test_set_v0.01"):
        record(copy / folder, "_background_noise_/n.wav", "_silence_/s.wav")
    with pytest.raises(
        CorpusError, match=r"expected the folder speech_commands_v0\.01 with .*, found speech_"
    ):
        download_corpus("speech_commands", tmp_path / "ks", root=copy)
    with pytest.raises(CorpusError, match="found no such folder"):
        download_corpus("audio_snips", tmp_path / "sf", root=tmp_path / "none")
    # One subset given as the root is not taken for another.
    record(copy / "dev-clean/1/2", "1-2-0000.flac")
    (copy / "dev-clean/1/2/1-2.trans.txt").write_text("1-2-0000 A\n")
    with pytest.raises(CorpusError, match="expected the folder test-clean"):
        download_corpus(
            "librispeech",
            tmp_path / "asr",
            folders=["dev-clean", "test-clean"],
            root=copy / "dev-clean",
        )


def test_every_source_has_its_archive():
    folders = [source.folder for sources in SOURCES.values() for source in sources]
    assert len(set(folders)) == len(folders)
    for sources in SOURCES.values():
        for source in sources:
            assert ASSETS[source.asset].max_unpacked > 0


def test_what_a_rule_declares_can_be_deleted_and_nothing_is_downloaded_again(
    tmp_path, host, tar, offer
):
    out, assets = tmp_path / "digits", offer(fsdd__tar__gz=tar(RELEASE))
    for _ in range(2):
        download_corpus("fsdd", out, linked=out / "root", assets=assets)
        assert tree(out / "root/recordings") == {"1_ann_0.wav": b"one", "2_ann_0.wav": b"two"}
        shutil.rmtree(out / "root")
    assert len(host.requests) == 1
    assert len(tree(out / "recordings")) == 2


def test_a_copy_is_linked_to_in_the_second_place_too(tmp_path, record, tar, offer):
    record(tmp_path / "copy", "5_cy_0.wav")
    out, place = tmp_path / "digits", tmp_path / "digits/root/recordings"
    before = tree(tmp_path / "copy")
    download_corpus("fsdd", out, linked=place.parent, assets=offer(fsdd__tar__gz=tar(RELEASE)))
    shutil.rmtree(out / "recordings")
    for _ in range(2):
        download_corpus("fsdd", out, linked=place.parent, root=tmp_path / "copy")
        assert place.is_symlink()
        assert (place / "5_cy_0.wav").read_bytes() == before["5_cy_0.wav"]
    assert tree(tmp_path / "copy") == before


def test_folders_that_come_one_by_one_are_all_recorded(tmp_path, tar, offer):
    def archive(subset):
        return tar({f"LibriSpeech/{subset}/1/2/1-2.trans.txt": b"1-2-0000 A\n"})

    for subset in ("dev-clean", "test-clean"):
        assets = offer(**{f"{subset}__tar__gz": archive(subset)})
        download_corpus("librispeech", tmp_path, folders=[subset], assets=assets)
    recorded = json.loads((tmp_path / RECORD).read_text())["folders"]
    assert list(recorded) == ["dev-clean", "test-clean"]


def test_a_first_download_that_is_something_else_leaves_nothing(tmp_path, host, tar, offer):
    out, right = tmp_path / "digits", tar(RELEASE | {"fsdd-1.0.10/a": bytes(range(256)) * 400})
    host.lengths = False  # so that a cut is not announced
    for content in (right[:-200], tar({"a/readme": b""}), b"<html>log in</html>", b""):
        with pytest.raises((AssetError, CorpusError), match="nothing of it is kept"):
            download_corpus("fsdd", out, assets=offer(fsdd__tar__gz=content))
        assert list(out.iterdir()) == []
    download_corpus("fsdd", out, assets=offer(fsdd__tar__gz=right))
    assert len(tree(out / "recordings")) == 2


def test_of_several_processes_one_downloads_and_all_keep_its_folder(
    tmp_path, host, tar, offer, at_once
):
    out = tmp_path / "digits"
    assets = offer(fsdd__tar__gz=tar(RELEASE))

    def collect(number):
        download_corpus("fsdd", out, linked=out / "root", assets=assets)

    assert at_once(collect) == [0] * 4
    assert len(host.requests) == 1
    for folder in (out / "recordings", out / "root/recordings"):
        assert tree(folder) == {"1_ann_0.wav": b"one", "2_ann_0.wav": b"two"}
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_processes_with_folders_of_their_own_are_all_recorded(tmp_path, tar, offer, at_once):
    subsets = ("dev-clean", "test-clean", "dev-other", "test-other")
    assets = dict(ASSETS)
    for subset in subsets:
        content = tar({f"LibriSpeech/{subset}/1/2/1-2.trans.txt": b"1-2-0000 A\n"})
        name = f"{subset}.tar.gz"
        assets[name] = offer(**{name.replace(".", "__"): content})[name]
    at_once(
        lambda number: download_corpus(
            "librispeech", tmp_path, folders=[subsets[number]], assets=assets
        )
    )
    recorded = json.loads((tmp_path / RECORD).read_text())["folders"]
    assert set(recorded) == set(subsets)
