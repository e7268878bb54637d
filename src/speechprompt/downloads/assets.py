"""Published files that a run may download: where they are, what they hash to, under what licence.

Sums of Speech Commands and LibriSpeech: torchaudio's and TensorFlow Datasets' tables. Audio SNIPS:
the object id of the file at its host. HuBERT, CPC and their k-means models: SpeechPrompt's and
textless-lib's tables. A file without a published sum is pinned by its first download
(:func:`speechprompt.downloads.download.fetch`).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ASSETS", "Asset"]

GB = 10**9
FAIR = "https://dl.fbaipublicfiles.com"
PYTORCH = "https://download.pytorch.org/torchaudio/models"
GSLM_LICENCE = "MIT"


@dataclass(frozen=True, slots=True)
class Asset:
    """One published file.

    Attributes:
        name: File name it is kept under.
        url: Where it is.
        licence: The licence its publisher states.
        sha256: Hex SHA-256, or None where none is published.
        size: Bytes, or None where not known.
        max_unpacked: Most bytes that an archive may unpack to; 0 for a file that is no archive.
        is_model: Whether it is a model, not a corpus.
    """

    name: str
    url: str
    licence: str
    sha256: str | None = None
    size: int | None = None
    max_unpacked: int = 0
    is_model: bool = False


def _librispeech(subset: str, sha256: str, size: int) -> Asset:
    name = f"{subset}.tar.gz"
    url = f"http://www.openslr.org/resources/12/{name}"
    # FLAC does not shrink further: unpacked it is about as large as the archive.
    return Asset(name, url, "CC BY 4.0", sha256, size, max_unpacked=2 * size)


def _model(
    name: str, path: str, sha256: str | None = None, licence: str = GSLM_LICENCE, host: str = FAIR
) -> Asset:
    return Asset(name, host + path, licence, sha256, is_model=True)


def _kmeans(encoder: str, n_units: int, sha256: str | None = None) -> Asset:
    path = f"/textless_nlp/gslm/{encoder}/km{n_units}/km.bin"
    return _model(f"{encoder}_km{n_units}.bin", path, sha256)


def _unit_lm(encoder: str, n_units: int) -> Asset:
    name = f"{encoder}{n_units}_lm.tgz"
    return _model(name, f"/textless_nlp/gslm/{encoder}/lm_km{n_units}/{name}")


_CORPORA = (
    Asset(
        "fsdd.tar.gz",
        "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz",
        "CC BY-SA 4.0",
        max_unpacked=1 * GB,
    ),
    Asset(
        "speech_commands_v0.01.tar.gz",
        "http://download.tensorflow.org/data/speech_commands_v0.01.tar.gz",
        "CC BY 4.0",
        "743935421bb51cccdb6bdd152e04c5c70274e935c82119ad7faeec31780d811d",
        size=1_489_096_277,
        max_unpacked=4 * GB,
    ),
    Asset(
        "speech_commands_test_set_v0.01.tar.gz",
        "http://download.tensorflow.org/data/speech_commands_test_set_v0.01.tar.gz",
        "CC BY 4.0",
        "baa084f6b62c91de660ff0588ae4dfc4e4d534aa99ac0e5f406cba75836cbd00",
        max_unpacked=1 * GB,
    ),
    # A mirror: the publisher's own link is dead. The original archive's sum is
    # 4376699f7daf134a9fa57a1d880ffcaaf94a3e2551ba0b40ad894d7abb71aacb; whether the mirror packed
    # it anew is not known, so the first download pins it.
    Asset(
        "fluent.tar.gz",
        "https://huggingface.co/datasets/leo19941227/fluent_speech_commands/resolve/main/fluent.tar.gz",
        "Fluent Speech Commands Public License (research only)",
        max_unpacked=6 * GB,
    ),
    # SUPERB's form, text normalised and audio as WAV. The original archive of MP3s has no texts.
    Asset(
        "snips.zip",
        "https://huggingface.co/datasets/s3prl/SNIPS/resolve/cec95911b484624581e1b12c47a92fa33aa7fb2b/snips.zip",
        "MIT",
        "1b98431328afdb000f6e7eef2ba6a8e6f0641740fef3dfee6422bd9f40692b51",
        size=18_668_799_794,
        max_unpacked=60 * GB,
    ),
    _librispeech(
        "dev-clean",
        "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3",
        337_926_286,
    ),
    _librispeech(
        "dev-other",
        "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365",
        314_305_928,
    ),
    _librispeech(
        "test-clean",
        "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23",
        346_663_984,
    ),
    _librispeech(
        "test-other",
        "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29",
        328_757_843,
    ),
    _librispeech(
        "train-clean-100",
        "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2",
        6_387_309_499,
    ),
    _librispeech(
        "train-clean-360",
        "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf",
        23_049_477_885,
    ),
    _librispeech(
        "train-other-500",
        "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2",
        30_593_501_606,
    ),
)

_MODELS = (
    _model(
        "hubert_base_ls960.pt",
        "/hubert/hubert_base_ls960.pt",
        "1703cf8d2cdc76f8c046f5f6a9bcd224e0e6caf4744cad1a1f4199c32cac8c8d",
    ),
    _model("hubert_large_ll60k.pt", "/hubert/hubert_large_ll60k.pt"),
    # The same models as torchaudio's pipelines publish them.
    _model("hubert_fairseq_base_ls960.pth", "/hubert_fairseq_base_ls960.pth", host=PYTORCH),
    _model("hubert_fairseq_large_ll60k.pth", "/hubert_fairseq_large_ll60k.pth", host=PYTORCH),
    _model(
        "cpc_big_ll6kh_top_ctc.pt",
        "/textless_nlp/gslm/cpc/cpc_big_ll6kh_top_ctc.pt",
        "73155dad5d7c986fe7b7f548050060a8e9cc9a0ffd111a22932f38c3e617c5b8",
    ),
    _kmeans("hubert", 50, "d01a7d5bc2c54b7b5f25f321ba525b4d230b06e3927f90bad0394198bc89f494"),
    _kmeans("hubert", 100, "f14a3104615485381fc489701d6761c9abbdbb0d43607cf55518a1e2891023fe"),
    _kmeans("hubert", 200, "b3c46c9cdd1707ad852dd53c359aa73942e79d53c432a9a8a419ed046408024b"),
    _kmeans("cpc", 50, "c48be5717aebc08169aa5165d58267449b8c8568624a346bb9f4b26eac3b0240"),
    _kmeans("cpc", 100, "077b96e010b1e87be627ef2bef0f5e5cdaa1c01722aa363b2dc0bb6a638e8b26"),
    _kmeans("cpc", 200, "2d863d1c6f251d19e667998248c87642ecb5e3ffaa410e9ebfa64341db4f6de2"),
    *(_kmeans("logmel", k) for k in (50, 100, 200)),
    *(_unit_lm(encoder, k) for encoder in ("hubert", "cpc", "logmel") for k in (50, 100, 200)),
)

ASSETS: dict[str, Asset] = {asset.name: asset for asset in (*_CORPORA, *_MODELS)}
