"""Parity with fairseq's own TransformerLanguageModel, read from archives as GSLM publishes them."""

import io
import tarfile
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from publishing import (
    GSLM_LM,
    SMALL_LM,
    Bomb,
    build_lm,
    check_that_it_works,
    layouts,
    make_dictionary,
    needs_fairseq,
    publish,
    write_dictionary,
)

from speechprompt.errors import ArtefactError, AssetError
from speechprompt.lm import load_lm
from speechprompt.lm.packing import pack
from speechprompt.models.importing.unit_lm import import_unit_lm
from speechprompt.storage.hashes import sha256_file

CODEBOOK = "c" * 64
N_UNITS = 20


def archive(path, *files, folder="", mode="w:gz"):
    """Pack files; stored, not compressed, which for random weights only costs time."""
    options = {"compresslevel": 0} if mode == "w:gz" else {}
    with tarfile.open(path, mode, **options) as tar:
        for file in files:
            tar.add(file, f"{folder}{file.name}")
    return path


def shuffled(n_units):
    """Units in an order of their own, as CPC's dictionary has them by frequency."""
    return np.random.default_rng(0).permutation(n_units).tolist()


@torch.no_grad()
def check_parity(path, reference, dictionary, n_units):
    """Logits of unit sequences equal fairseq's, which looks the units up in its dictionary."""
    loaded = load_lm(path, CODEBOOK)
    rng = np.random.default_rng(1)
    symbols = ["<s>", "</s>", *map(str, range(n_units))]
    ours = torch.tensor([0, 2, *loaded.dictionary.ids(range(n_units))])
    theirs = torch.tensor([dictionary.index(symbol) for symbol in symbols])
    for length in (1, 7, 30):
        units = rng.integers(0, n_units, length)
        line = " ".join(map(str, units))
        source = dictionary.encode_line(line, add_if_not_exist=False, append_eos=False).long()
        expected = reference(torch.cat((torch.tensor([2]), source))[None])[0][0][:, theirs]
        batch = pack([loaded.dictionary.sentence(units)[:-1]])
        model = loaded.model
        found = model.logits(model(batch))[batch.wanted_query[0]][: length + 1][:, ours]
        assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    return loaded


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A small LM with a shuffled dictionary, and its files."""
    needs_fairseq()
    folder = tmp_path_factory.mktemp("lm")
    dictionary = write_dictionary(folder / "dict.txt", shuffled(N_UNITS))
    model, settings = build_lm(dictionary, **SMALL_LM)
    return SimpleNamespace(
        model=model,
        dictionary=dictionary,
        words=folder / "dict.txt",
        settings=layouts(settings, SMALL_LM["longest"]),
    )


def write(small, folder, *, change_weights=None, change=None, layout="args", **options):
    """The checkpoint, after changes to its weights and settings."""
    weights = dict(small.model.state_dict())
    (change_weights or (lambda w: None))(weights)
    settings = small.settings[layout]
    if change:
        settings = {"args": Namespace(**{**vars(settings["args"]), **change})}
    return publish(folder / "checkpoint_best.pt", weights, **settings, **options)


@pytest.mark.parametrize("layout", ["args", "cfg", "mixed"])
@pytest.mark.parametrize("packing", ["w:gz", "w:xz", "folder", "files", "legacy", "trust"])
def test_a_shuffled_dictionary_maps_correctly(small, tmp_path, layout, packing):
    out = tmp_path / "out" / "lm.safetensors"
    source = write(small, tmp_path, layout=layout, legacy=packing == "legacy")
    options = {"trust": packing == "trust"}
    if packing in ("files", "legacy"):
        options["dictionary"] = small.words
    else:
        folder, mode = ("hubert20_lm/", "w:gz") if packing == "folder" else ("", packing)
        mode = mode if ":" in mode else "w:gz"
        source = archive(tmp_path / "lm.tgz", source, small.words, folder=folder, mode=mode)
    import_unit_lm(source, out, codebook_sha256=CODEBOOK, n_units=N_UNITS, **options)
    loaded = check_parity(out, small.model, small.dictionary, N_UNITS)
    assert loaded.dictionary.units == shuffled(N_UNITS)
    assert loaded.metadata["source"] == {"file": source.name, "sha256": sha256_file(source)}
    assert loaded.model.config.max_positions == SMALL_LM["longest"]
    assert [path.name for path in out.parent.iterdir()] == ["lm.safetensors"]


def test_symbols_that_fill_up_the_dictionary_are_left_out(tmp_path):
    needs_fairseq()
    words = tmp_path / "dict.txt"
    dictionary = write_dictionary(words, shuffled(N_UNITS), n_filler=4)
    model, settings = build_lm(dictionary, **SMALL_LM)
    checkpoint = tmp_path / "model.pt"
    publish(checkpoint, model.state_dict(), **layouts(settings, SMALL_LM["longest"])["args"])
    import_unit_lm(
        checkpoint, tmp_path / "lm.safetensors", codebook_sha256=CODEBOOK, dictionary=words
    )
    loaded = check_parity(tmp_path / "lm.safetensors", model, dictionary, N_UNITS)
    assert loaded.model.config.n_symbols == N_UNITS + 4


@pytest.mark.slow
def test_full_size_equals_fairseqs(tmp_path):
    needs_fairseq()
    dictionary = write_dictionary(tmp_path / "dict.txt", shuffled(100))
    model, settings = build_lm(dictionary, **GSLM_LM)
    n_parameters = sum(parameter.numel() for parameter in model.parameters())
    assert n_parameters == 151_263_232
    source = layouts(settings, GSLM_LM["longest"])["cfg"]
    checkpoint = publish(tmp_path / "checkpoint_best.pt", model.state_dict(), **source)
    packed = archive(tmp_path / "hubert100_lm.tgz", checkpoint, tmp_path / "dict.txt")
    checkpoint.unlink()
    import_unit_lm(packed, tmp_path / "lm.safetensors", codebook_sha256=CODEBOOK, n_units=100)
    packed.unlink()
    loaded = check_parity(tmp_path / "lm.safetensors", model, dictionary, 100)
    assert sum(parameter.numel() for parameter in loaded.model.parameters()) == n_parameters
    (tmp_path / "lm.safetensors").unlink()


@pytest.fixture
def attempt(small, tmp_path):
    """Import a changed LM from its archive; on failure nothing may be left."""
    folder = tmp_path / "out"

    def run(*, words=None, n_units=None, source=None, **changes):
        checkpoint = write(small, tmp_path, **changes)
        if words is not None:
            (tmp_path / "dict.txt").write_text(words)
        listed = small.words if words is None else tmp_path / "dict.txt"
        source = source or archive(tmp_path / "lm.tgz", checkpoint, listed)
        try:
            import_unit_lm(
                source, folder / "lm.safetensors", codebook_sha256=CODEBOOK, n_units=n_units
            )
        finally:
            left = list(folder.iterdir()) if folder.exists() else []
            assert [path.name for path in left] in ([], ["lm.safetensors"])
        return left

    return run


def test_an_unchanged_model_is_accepted(attempt):
    assert attempt(change={"dropout": 0.5})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda w: w.pop("decoder.layers.1.fc2.bias"),
            r"lm\.tgz: expected the 26,464 parameters of a unit LM of 3 layers of 32 dimensions "
            r"over 24 symbols, found 26,432; missing: decoder\.layers\.1\.fc2\.bias$",
        ),
        (
            lambda w: w.update({"decoder.embed_out": torch.ones(1)}),
            r"found 26,465; surplus: decoder\.embed_out$",
        ),
        (
            lambda w: w.update({"decoder.layers.0.fc1.bias": torch.ones(63)}),
            r"another shape: decoder\.layers\.0\.fc1\.bias \(63,\) instead of \(64,\)$",
        ),
        (
            lambda w: w.update({"decoder.output_projection.weight": torch.ones(24, 32)}),
            "expected tied embeddings",
        ),
    ],
)
def test_weights_that_do_not_fit(attempt, change, message):
    with pytest.raises(ArtefactError, match=message):
        attempt(change_weights=change)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"decoder_layers": 4}, r"missing: decoder\.layers\.3\."),
        ({"decoder_ffn_embed_dim": 128}, r"parameters.*another shape: .*fc1"),
        ({"decoder_attention_heads": None}, "decoder_attention_heads: expected int, found None"),
        ({"decoder_attention_heads": 3}, "expected a multiple of 2 x heads"),
        ({"activation_fn": "gelu"}, "activation_fn: expected 'relu', found 'gelu'"),
        ({"decoder_learned_pos": True}, "decoder_learned_pos: expected False, found True"),
        ({"decoder_normalize_before": False}, "decoder_normalize_before: expected True, found F"),
        ({"no_scale_embedding": True}, "a model that is not offered here; no_scale_embedding"),
        ({"adaptive_softmax_cutoff": "10"}, "adaptive_softmax_cutoff: expected False, found '10'"),
        ({"decoder_input_dim": 16}, "decoder_input_dim: expected 32, found 16"),
        ({"arch": "lstm_lm"}, "expected a transformer_lm, found 'lstm_lm'"),
        ({"max_target_positions": None, "tokens_per_sample": None}, "tokens_per_sample: expected"),
    ],
)
def test_settings_that_do_not_fit(attempt, change, message):
    with pytest.raises(ArtefactError, match=rf"lm\.tgz: .*{message}"):
        attempt(change=change)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("".join(f"{i} 1\n" for i in range(19)), "expected 20 lines in dict.txt.*found 19"),
        ("".join(f"{i} 1\n" for i in range(21)), "expected 20 lines in dict.txt.*found 21"),
        ("".join(f"{i} 1\n" for i in range(1, 21)), r"dict\.txt: expected lines of `unit count`"),
        ("".join(f"{i % 19} 1\n" for i in range(20)), "19 distinct units in 20 lines"),
        ("hello 1\n" * 20, "expected lines of `unit count`"),
        ("", "expected 20 lines in dict.txt.*found 0"),
    ],
)
def test_dictionaries_that_do_not_fit(attempt, words, message):
    with pytest.raises(ArtefactError, match=message):
        attempt(words=words)


def test_a_codebook_of_another_size(attempt):
    with pytest.raises(ArtefactError, match=r"the codebook's 50 units, found 20 in its dict\.txt"):
        attempt(n_units=50)


def member(name, kind=tarfile.REGTYPE, target="", content=b"x"):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    info.size = len(content) if kind == tarfile.REGTYPE else 0
    return info, io.BytesIO(content)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../dict.txt")], r"'\.\./dict\.txt' would leave the folder; refused"),
        ([member("/tmp/dict.txt")], "would leave the folder; refused"),
        ([member("dict.txt", tarfile.SYMTYPE, "/etc/passwd")], "link dict.txt to .*would leave"),
        ([member("dict.txt", tarfile.SYMTYPE, "../../x")], "link dict.txt to .*would leave"),
        ([member("dict.txt", tarfile.LNKTYPE, "../x")], "link dict.txt to .*would leave"),
        ([member("x"), member("dict.txt", tarfile.SYMTYPE, "x")], "one checkpoint_best.pt in it"),
        ([member("a.pt"), member("dict.txt")], "one checkpoint_best.pt in it, found 0 among a.pt"),
        ([member("checkpoint_best.pt")], "expected one dict.txt in it, found 0"),
        (
            [member(f"{folder}/{name}") for folder in "ab" for name in ("checkpoint_best.pt",)],
            "expected one checkpoint_best.pt in it, found 2",
        ),
        ([member("checkpoint_best.pt"), member("dict.txt", content=b"0 1\n")], "cannot be read as"),
    ],
)
def test_archives_that_are_refused(attempt, tmp_path, members, message):
    path = tmp_path / "lm.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for info, content in members:
            tar.addfile(info, content)
    with pytest.raises(AssetError, match=message):
        attempt(source=path)
    assert not (tmp_path.parent / "dict.txt").exists()


def test_a_truncated_archive_and_a_wrong_sum(small, attempt, tmp_path):
    packed = archive(tmp_path / "lm.tgz", write(small, tmp_path), small.words)
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) * 2 // 3])
    with pytest.raises(AssetError, match=r"lm\.tgz: cannot be unpacked"):
        attempt(source=packed)
    out = tmp_path / "lm.safetensors"
    with pytest.raises(AssetError, match=f"expected the SHA-256 {'0' * 64}, found"):
        import_unit_lm(packed, out, codebook_sha256=CODEBOOK, sha256="0" * 64)
    assert not out.exists()


def test_a_checkpoint_without_its_dictionary(small, attempt, tmp_path):
    with pytest.raises(AssetError, match=r"a checkpoint by itself needs its dict\.txt"):
        attempt(source=write(small, tmp_path))


def test_a_checkpoint_that_would_run_code(attempt, tmp_path):
    bomb = Bomb(tmp_path / "went-off")
    check_that_it_works(bomb)
    with pytest.raises(AssetError, match=r"checkpoint_best\.pt: refused.*system"):
        attempt(change={"user_dir": bomb})
    assert not bomb.path.exists()


def test_the_dictionary_of_the_tests_is_fairseqs_own(small):
    """Unit i is symbol i of a dictionary in numeric order, and not of ours."""
    assert make_dictionary(3).index("2") == 6
    assert small.dictionary.index("0") == 4 + shuffled(N_UNITS).index(0) != 4
