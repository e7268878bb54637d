"""Import of HuBERT's relatives, wav2vec 2.0 and WavLM, from folders of ``transformers``."""

from pathlib import Path

from speechprompt.encoders.wav2vec2 import WAV2VEC2
from speechprompt.encoders.wavlm import WAVLM
from speechprompt.models.importing.transformers_folder import import_folder

__all__ = ["import_wav2vec2", "import_wavlm"]


def import_wav2vec2(
    folder: str | Path, out: str | Path, *, normalize: bool | None = None, trust: bool = False
) -> None:
    """Import a wav2vec 2.0 of any size.

    Args:
        folder: A folder of transformers, or its config.json.
        out: The safetensors file, for ``weights`` of an encoder of kind wav2vec2.
        normalize: Whether waveforms are normalised; by default as the folder says.
        trust: Run all code that a pickle in it asks for; only for your own files.

    Raises:
        AssetError: see :func:`import_folder`.
        ArtefactError: likewise.
    """
    import_folder(folder, out, WAV2VEC2, normalize=normalize, trust=trust)


def import_wavlm(
    folder: str | Path, out: str | Path, *, normalize: bool | None = None, trust: bool = False
) -> None:
    """Import a WavLM of any size.

    Args:
        folder: A folder of transformers, or its config.json.
        out: The safetensors file, for ``weights`` of an encoder of kind wavlm.
        normalize: Whether waveforms are normalised; by default as the folder says.
        trust: Run all code that a pickle in it asks for; only for your own files.

    Raises:
        AssetError: see :func:`import_folder`.
        ArtefactError: likewise.
    """
    import_folder(folder, out, WAVLM, normalize=normalize, trust=trust)
