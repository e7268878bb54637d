"""Sound from a microphone, as it comes."""

from collections.abc import Iterator
from importlib import import_module

import numpy as np

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.errors import ConfigError
from speechprompt.runtime.progress import log

__all__ = ["microphone_blocks"]

# Samples that are read at once: a tenth of a second.
BLOCK = SAMPLE_RATE // 10


def microphone_blocks() -> Iterator[tuple[np.ndarray, int]]:
    """Read the system's microphone until the program is stopped.

    Yields:
        Samples, float32 ``[n]``, and their rate in Hz.

    Raises:
        ConfigError: the library that reads it is not installed, or there is no microphone.
    """
    try:
        # Not a dependency of the package, and slow to import.
        sounddevice = import_module("sounddevice")
    except (ImportError, OSError) as error:  # OSError: without the system's PortAudio
        raise ConfigError(
            f"microphone: {error}; pip install 'speechprompt[microphone]', and on Linux the "
            "system's package libportaudio2"
        ) from None
    try:
        with sounddevice.InputStream(SAMPLE_RATE, BLOCK, channels=1, dtype="float32") as stream:
            while True:
                samples, is_late = stream.read(BLOCK)
                if is_late:
                    log("warning: microphone: samples were lost, as answers take too long")
                yield samples[:, 0].copy(), SAMPLE_RATE
    except sounddevice.PortAudioError as error:
        raise ConfigError(f"microphone: it cannot be opened ({error})") from None
