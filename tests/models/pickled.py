"""Pickles as torch and joblib write them, in all their forms."""

import zipfile

import joblib
import torch


def save_zip(value, path):
    torch.save(value, path)


def save_legacy(value, path):
    torch.save(value, path, _use_new_zipfile_serialization=False)


FORMATS = {"zip": save_zip, "legacy": save_legacy}


def dump_plain(value, path):
    joblib.dump(value, path)


def dump_compressed(method):
    def dump(value, path):
        joblib.dump(value, path, compress=(method, 3))

    return dump


DUMPS = {"plain": dump_plain} | {
    method: dump_compressed(method) for method in ("zlib", "gzip", "bz2", "lzma", "xz")
}


def replace_record(path, name, content):
    """Exchange one record of a checkpoint of the zip format."""
    with zipfile.ZipFile(path) as archive:
        records = {entry: archive.read(entry) for entry in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, old in records.items():
            archive.writestr(entry, content if entry.endswith(name) else old)
