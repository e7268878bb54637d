"""Speech from eSpeak NG: the library in the package ``espeakng_loader``, called through ctypes.

The library keeps state between utterances that its interface cannot reset (flutter, gain control,
wave phase). A sentence would therefore sound a little different after another one. To prevent that,
a fresh copy of the library is loaded for every utterance, which takes about two milliseconds.
"""

import _ctypes
import ctypes
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Self

import espeakng_loader
import numpy as np

from speechprompt.errors import SpeechPromptError

__all__ = ["SAMPLE_RATE", "Event", "Speaker", "SpeechError", "accents", "variants"]

SAMPLE_RATE = 22_050

# Constants of speak_lib.h.
RETRIEVAL_MODE = 2
INITIALIZE_PHONEME_EVENTS = 0x0001
INITIALIZE_DONT_EXIT = 0x8000
PHONEMES_IPA = 0x02
PARAMETER_RATE, PARAMETER_PITCH, PARAMETER_RANGE = 1, 3, 4
CHARACTERS_UTF8 = 1
POSITION_CHARACTER = 1
EVENT_LIST_END, EVENT_WORD, EVENT_PHONEME = 0, 1, 7
SILENT_PHONEMES = ("", "_", "_:", "_!", "_|", "_^_")


class SpeechError(SpeechPromptError):
    """eSpeak NG does not accept a voice or a text, or cannot start."""


@dataclass(frozen=True, slots=True)
class Event:
    """The start of a word, phoneme or pause in an utterance.

    The library reports the sample that it makes next, without a lag. The silence that it leaves
    before a phoneme, such as the closure of a stop, has no event: a stop starts at its burst. A
    vowel after a nasal or liquid starts after the transition to it.

    Attributes:
        kind: ``word``, ``phoneme`` or ``pause``.
        sample: First sample, at :data:`SAMPLE_RATE`.
        text: The written word, or the mnemonic of the phoneme or pause.
    """

    kind: str
    sample: int
    text: str


class _Identity(ctypes.Union):
    _fields_ = (
        ("number", ctypes.c_int),
        ("name", ctypes.c_char_p),
        ("string", ctypes.c_char * 8),
    )


class _Event(ctypes.Structure):
    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", _Identity),
    )


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)


class Speaker:
    """Speaks texts with any accent and voice variant; a context manager, for one thread.

    An utterance depends on the arguments alone, not on what was spoken before.
    """

    def __init__(self) -> None:
        self._folder = TemporaryDirectory(prefix="speechprompt-", ignore_cleanup_errors=True)
        # A copy is loaded and unloaded independently of other users of the library.
        library = shutil.copy2(espeakng_loader.get_library_path(), self._folder.name)
        self._library = Path(library)
        self._blocks: list[np.ndarray] = []
        self._events: list[tuple[int, int, int, int, bytes]] = []
        # The library calls it while it is loaded, so that a reference has to stay.
        self._callback = _Callback(self._receive)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._folder.cleanup()

    def synthesise(
        self,
        text: str,
        accent: str = "en-us",
        variant: str | None = None,
        *,
        rate: int = 175,
        pitch: int = 50,
        pitch_range: int = 50,
    ) -> tuple[np.ndarray, list[Event]]:
        """Speak a text.

        Args:
            text: Plain text.
            accent: One of :func:`accents`.
            variant: One of :func:`variants`; None is the accent's own voice.
            rate: Words per minute, 80 to 450.
            pitch: 0 to 99.
            pitch_range: 0 (monotone) to 99.

        Returns:
            float32 ``[n_samples]`` at :data:`SAMPLE_RATE`, full scale 1; and the words, phonemes
            and pauses in order.

        Raises:
            SpeechError: the accent or variant is unknown, or nothing was spoken.
        """
        voice = _voice_name(accent, variant)
        self._blocks, self._events = [], []
        with self._loaded() as library:
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise SpeechError(f"eSpeak NG refused the voice {voice!r}")
            settings = {PARAMETER_RATE: rate, PARAMETER_PITCH: pitch, PARAMETER_RANGE: pitch_range}
            for parameter, value in settings.items():
                library.espeak_SetParameter(parameter, value, 0)
            encoded = text.encode()
            size = ctypes.c_size_t(len(encoded) + 1)
            positions = (0, POSITION_CHARACTER, 0)
            failed = library.espeak_Synth(encoded, size, *positions, CHARACTERS_UTF8, None, None)
            if failed or library.espeak_Synchronize():
                raise SpeechError(f"eSpeak NG failed to speak {text!r} with voice {voice!r}")
        if not any(block.any() for block in self._blocks):
            raise SpeechError(f"eSpeak NG is silent on {text!r} with voice {voice!r}")
        samples = np.concatenate(self._blocks).astype(np.float32) / 32768
        return samples, [event for raw in self._events if (event := _to_event(text, *raw))]

    def transcribe(self, text: str, accent: str = "en-us") -> str:
        """Write a text in IPA, with marks of stress and length.

        Raises:
            SpeechError: the accent is unknown.
        """
        voice = _voice_name(accent, None)
        with self._loaded() as library:
            if library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise SpeechError(f"eSpeak NG refused the voice {voice!r}")
            library.espeak_TextToPhonemes.restype = ctypes.c_char_p
            # The library moves the pointer on, clause by clause, and makes it null at the end.
            rest = ctypes.c_char_p(text.encode())
            clauses = []
            while rest.value:
                arguments = (ctypes.byref(rest), CHARACTERS_UTF8, PHONEMES_IPA)
                clauses.append(library.espeak_TextToPhonemes(*arguments).decode())
        return " ".join(clauses)

    @contextmanager
    def _loaded(self) -> Iterator[ctypes.CDLL]:
        library = ctypes.CDLL(str(self._library))
        try:
            options = INITIALIZE_PHONEME_EVENTS | INITIALIZE_DONT_EXIT
            data = _data_folder()
            rate = library.espeak_Initialize(RETRIEVAL_MODE, 0, str(data).encode(), options)
            if rate != SAMPLE_RATE:
                raise SpeechError(f"{data}: eSpeak NG cannot start from this folder")
            library.espeak_SetSynthCallback(self._callback)
            # There are two random number generators: eSpeak's, and C's, which Klatt voices use.
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))
            ctypes.CDLL(None).srand(ctypes.c_uint(1))
            try:
                yield library
            finally:
                library.espeak_Terminate()
        finally:
            _unload(library, self._library)

    def _receive(self, samples: Any, count: int, events: Any) -> int:
        """Collect samples and events from the library; it goes on if the result is 0."""
        if samples and count > 0:
            self._blocks.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        index = 0
        while (event := events[index]).type != EVENT_LIST_END:
            raw = (event.type, event.sample, event.text_position, event.length, event.id.string)
            self._events.append(raw)
            index += 1
        return 0


@cache
def variants() -> tuple[str, ...]:
    """Names of the installed voice variants, such as ``f2`` and ``Michael``."""
    return tuple(sorted(path.name for path in (_data_folder() / "voices" / "!v").iterdir()))


@cache
def accents() -> dict[str, str]:
    """The installed accents and languages: code, such as ``en-gb``, -> file below ``lang``."""
    lang = _data_folder() / "lang"
    result: dict[str, str] = {}
    for path in sorted(path for path in lang.rglob("*") if path.is_file()):
        lines = path.read_text(encoding="utf-8").splitlines()
        # The first language line names the accent.
        code = next(line.split()[1] for line in lines if line.startswith("language"))
        result.setdefault(code, path.relative_to(lang).as_posix())
    return result


def _data_folder() -> Path:
    return Path(espeakng_loader.get_data_path())


def _voice_name(accent: str, variant: str | None) -> str:
    files = accents()
    if accent not in files:
        raise SpeechError(
            f"expected an accent or language of eSpeak NG, such as en-gb or de, found {accent!r}"
        )
    if variant is None:
        return files[accent]
    if variant not in variants():
        raise SpeechError(f"expected a variant of {', '.join(variants())}, found {variant!r}")
    return f"{files[accent]}+{variant}"


def _unload(library: ctypes.CDLL, path: Path) -> None:
    _ctypes.dlclose(library._handle)
    try:
        ctypes.CDLL(str(path), mode=os.RTLD_NOLOAD)
    except OSError:
        return
    raise SpeechError(f"{path}: this system keeps the library loaded, so its state cannot be reset")


def _to_event(
    text: str, kind: int, sample: int, position: int, length: int, name: bytes
) -> Event | None:
    if kind == EVENT_WORD:
        return Event("word", sample, text[position - 1 : position - 1 + length])
    if kind == EVENT_PHONEME:
        mnemonic = name.decode()
        return Event("pause" if mnemonic in SILENT_PHONEMES else "phoneme", sample, mnemonic)
    return None
