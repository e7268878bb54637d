"""Small files that ask for endless work or memory are refused, and soon."""

from __future__ import annotations

import io
import pickle
import struct
import time
import zipfile
from argparse import Namespace
from collections import OrderedDict

import pytest
import torch

from speechprompt.errors import ArtefactError, AssetError, ConfigError
from speechprompt.lm import LMConfig
from speechprompt.models.importing import limits, pickles
from speechprompt.models.importing.codebook import import_codebook
from speechprompt.models.importing.cpc import import_cpc
from speechprompt.models.importing.hubert import import_hubert
from speechprompt.models.importing.pickles import load_checkpoint, load_joblib

PROTOCOL = b"\x80\x02"
# (), kept; then (what is kept, what is kept), kept in its place, and so on.
DOUBLED = b")q\x00" + b"0h\x00h\x00\x86q\x00" * 40
NESTED = b"]q\x00" + b"0]q\x01(h\x00h\x00eq\x00" * 40
MAPPED = b"}q\x00" + b"0}q\x01(K\x00h\x00K\x01h\x00uq\x00" * 40


@pytest.fixture(autouse=True)
def soon():
    began = time.process_time()
    yield
    assert time.process_time() - began < 20


def named(module, name):
    return f"c{module}\n{name}\n".encode()


def as_zip(content, compression=zipfile.ZIP_STORED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("a/data.pkl", content)
    return buffer.getvalue()


@pytest.fixture(params=["joblib", "zip", "legacy"])
def refuse(request, tmp_path):
    """Refuse a pickle, in each of the forms that are read."""
    path = tmp_path / "small.bin"

    def run(content, message):
        forms = {
            "joblib": (load_joblib, content),
            "zip": (load_checkpoint, as_zip(content)),
            "legacy": (load_checkpoint, content),
        }
        load, written = forms[request.param]
        path.write_bytes(written)
        with pytest.raises(AssetError, match=message) as caught:
            load(path)
        assert str(caught.value).startswith(str(path))
        assert len(str(caught.value)) < 1000

    return run


@pytest.mark.parametrize(
    "use",
    [
        b"}h\x00Ns.",  # a key
        b"}(h\x00Nu.",
        b"\x8f(h\x00\x90.",  # an element of a set
        b"(h\x00\x91.",  # of a frozen set
        b"(h\x00Nd.",
        named("builtins", "set") + b"]h\x00a\x85R.",
        named("builtins", "frozenset") + b"h\x00\x85\x85R.",
        named("builtins", "dict") + b"]h\x00N\x86a\x85R.",
        named("collections", "OrderedDict") + b"]h\x00N\x86a\x85R.",
        b"}h\x00h\x00\x86Ns.",
    ],
)
def test_hashes_of_tuples_of_tuples(refuse, use):
    assert len(DOUBLED + use) < 400
    refuse(PROTOCOL + DOUBLED + use, "copies or compares")


def test_a_list_that_is_copied_again_and_again(refuse):
    made = b"](" + b"N" * 100_000 + b"eq\x00"
    copied = named("builtins", "list") + b"q\x01" + b"0h\x01h\x00\x85R" * 2000 + b"."
    refuse(PROTOCOL + made + copied, "copies or compares")


@pytest.mark.parametrize(
    "call", [b"R", b"\x81", b"}\x92"], ids=["function", "class", "class with names"]
)
def test_many_arguments_again_and_again(refuse, call):
    made = b"(" + b"N" * 100_000 + b"tq\x00"
    called = named("fairseq.a", "B") + b"q\x01" + (b"0h\x01h\x00" + call) * 2000 + b"."
    refuse(PROTOCOL + made + called, "copies or compares")


def test_attributes_again_and_again(refuse):
    pairs = b"".join(b"M" + struct.pack("<H", i) + b"N" for i in range(60_000))
    built = named("fairseq.a", "B") + b"q\x01" + b"0h\x01)\x81h\x00b" * 2000 + b"."
    refuse(PROTOCOL + b"}(" + pairs + b"uq\x00" + built, "copies or compares")


def test_text_as_bytes_again_and_again(refuse):
    text = b"X" + struct.pack("<I", 100_000) + b"a" * 100_000 + b"q\x00"
    encoded = named("_codecs", "encode") + b"q\x01" + b"0h\x01h\x00\x85R" * 2000 + b"."
    refuse(PROTOCOL + text + encoded, "copies or compares")


def test_long_numbers_as_keys(refuse):
    number = b"\x8b" + struct.pack("<i", 500_000) + b"\x01" * 500_000 + b"q\x00"
    refuse(PROTOCOL + number + b"0}" + b"h\x00Ns" * 2000 + b".", "copies or compares")


def test_more_classes_than_a_model_has(refuse):
    classes = b"".join(named("fairseq", f"C{i}") + b"0" for i in range(2000))
    refuse(PROTOCOL + classes + b"N.", "names more than 1000 classes")


@pytest.mark.parametrize(
    "content",
    [
        b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
        b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
        b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b"N.",
        b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"N.",
    ],
    ids=["bytearray", "frame", "bytes", "text"],
)
def test_what_a_pickle_announces_is_not_reserved(refuse, content):
    refuse(content, r"small\.bin: cannot be read")


def test_more_steps_than_a_model_takes(refuse, monkeypatch):
    monkeypatch.setattr(limits, "MAX_STEPS", 10_000)
    refuse(PROTOCOL + b"N0" * 10_000 + b"N.", "more than 10000 steps")
    framed = b"\x80\x04\x95" + struct.pack("<Q", 20_001) + b"N0" * 10_000 + b"."
    refuse(framed, "more than 10000 steps")


def test_a_pickle_that_decompresses_to_gigabytes(tmp_path, monkeypatch):
    path = tmp_path / "small.pt"
    monkeypatch.setattr(pickles, "MAX_UNPACKED", 10**6)
    path.write_bytes(as_zip(bytes(2 * 10**6), zipfile.ZIP_DEFLATED))
    assert path.stat().st_size < 10_000
    with pytest.raises(AssetError, match="pickle of 2000000 bytes is over 1000000"):
        load_checkpoint(path)


def test_a_record_beside_the_pickle_that_decompresses_to_gigabytes(tmp_path):
    path = tmp_path / "small.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", pickle.dumps(1, 2))
        archive.writestr("a/byteorder", bytes(10**7))
    with pytest.raises(AssetError, match="little-endian"):
        load_checkpoint(path)


def test_a_tensor_cannot_be_changed_to_any_size(tmp_path):
    class Changed:
        def __init__(self, *rest):
            self.rest = rest

        def __reduce__(self):
            tensor = torch.ones(2)
            return (
                torch._utils._rebuild_tensor_v2,
                (*(tensor.storage(), 0, (2,), (1,), False, OrderedDict()),),
                *self.rest,
            )

    path = tmp_path / "small.pt"
    state = (torch.ones(2), 0, (10**9,), (1,))
    for rest in ((state,), (None, None, iter([(0, 5.0)]))):
        torch.save({"w": Changed(*rest)}, path)
        with pytest.raises(AssetError, match="its pickle changes a Tensor"):
            load_checkpoint(path)


def test_a_number_that_stands_for_a_billion(tmp_path):
    path = tmp_path / "small.pt"
    torch.save({"w": torch.ones(1).expand(10**12)}, path)
    with pytest.raises(AssetError, match="more numbers than are stored"):
        load_checkpoint(path)
    torch.save({"w": torch.ones(4).reshape(2, 2).t()}, path)
    assert load_checkpoint(path)["w"].shape == (2, 2)


@pytest.mark.parametrize("nested", [NESTED, MAPPED, DOUBLED], ids=["lists", "dicts", "tuples"])
@pytest.mark.parametrize("verb", [import_hubert, import_cpc, import_codebook])
def test_settings_that_contain_each_other(tmp_path, nested, verb):
    path = tmp_path / "small.pt"
    space = b"}(X\x06\0\0\0arModeh\0X\x05\0\0\0_nameh\0X\x0e\0\0\0encoder_layersh\0u"
    for key in (b"args", b"config", b"cfg"):
        named_key = b"X" + struct.pack("<I", len(key)) + key
        state = PROTOCOL + nested + b"0}(" + named_key + space + b"X\x07\0\0\0weights}"
        path.write_bytes(as_zip(state + b"X\x05\0\0\0model}u."))
        options = {"features": None} if verb is import_codebook else {}
        with pytest.raises((ArtefactError, AssetError)) as caught:
            verb(path, tmp_path / "out", **options)
        assert str(caught.value).startswith(str(path))
        assert len(str(caught.value)) < 2000


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder_layers": 10**9},
        {"encoder_layers": -1},
        {"conv_feature_layers": " + ".join(["[(512,10,5)] * 99"] * 1000)},
    ],
)
def test_more_layers_than_a_model_has(tmp_path, settings):
    whole = {
        **{"_name": "hubert", "extractor_mode": "default", "conv_bias": False, "conv_pos": 128},
        **{"conv_feature_layers": "[(512,10,5)]", "encoder_embed_dim": 768, "encoder_layers": 12},
        **{"conv_pos_groups": 16, "encoder_attention_heads": 12, "encoder_ffn_embed_dim": 3072},
        **{"layer_norm_first": False, "normalize": False},
        **settings,
    }
    torch.save({"model": {}, "args": Namespace(**whole)}, tmp_path / "model.pt")
    with pytest.raises(ArtefactError, match="expected a whole number from 1 to 1000"):
        import_hubert(tmp_path / "model.pt", tmp_path / "out.safetensors")


@pytest.mark.parametrize("wrong", [{"layers": 10**9}, {"heads": 0}, {"dim": 2**40}, {"ffn": 1.5}])
def test_a_unit_lm_of_impossible_size(wrong):
    (name,) = wrong
    with pytest.raises(ConfigError, match=rf"lm\.{name}: expected a whole number from 1 to"):
        LMConfig(**wrong)
