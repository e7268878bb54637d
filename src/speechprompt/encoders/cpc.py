"""CPC (Rivière et al., 2020) as GSLM uses it, with weights from a safetensors file.

GSLM reads the checkpoint ``cpc_big_ll6kh_top_ctc.pt`` with ``CpcFeatureReader`` of fairseq
(``examples/textless_nlp/gslm/speech2unit/pretrained/cpc_feature_reader.py``):

- The waveform passes through five convolutions of ``hiddenEncoder`` channels. Each is followed by a
  normalisation over the *channels* of a frame (variance with C - 1, epsilon 1e-5) and a ReLU.
- An LSTM follows with ``nLevelsGRU`` layers of ``hiddenGar`` numbers; layer 2 gives the frames.
- An utterance is cut into chunks of 64,000 samples. Each is encoded by itself: the convolutions see
  zeros around it, and the LSTM starts from zero.
- The remainder, which does not fill a chunk, is not encoded by itself. The reader tries to take the
  last 64,000 samples, but cuts along the wrong axis. The frames of the remainder are therefore the
  last frames of a run over the *whole* utterance. Published units were made in this way, so that it
  is repeated here.

Two oddities of the reader are left out, so that n samples always have ``(n + 1) // 160`` frames.
For a remainder of 1 to 158 samples, which has no frame, the reader appends the frames of the whole
utterance again. For a remainder of at least 25,599 samples whose number is one less than a multiple
of 160, it repeats one or two frames.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.encoders.base import Encoder
from speechprompt.encoders.weights import Architecture, check_layers, full_precision
from speechprompt.errors import ArtefactError
from speechprompt.runtime.device import to_device
from speechprompt.runtime.uninitialised import without_weights
from speechprompt.storage.hashes import sha256_file, sha256_json
from speechprompt.storage.tensors import Shapes, shapes_of

__all__ = ["CONFIG_KEYS", "CPC", "CpcEncoder"]

CONFIG_KEYS = ("hiddenEncoder", "hiddenGar", "nLevelsGRU")
# Kernel, stride and padding of each convolution. A frame at sample 0 depends on the samples -153 to
# 311, so that only the first and the last frame of a chunk depend on padding.
CONVOLUTIONS = ((10, 5, 3), (8, 4, 2), (4, 2, 1), (4, 2, 1), (4, 2, 1))
# Prefix of the LSTM's weights.
LSTM = "gAR.baseNet."
EPSILON = 1e-5
SHIFT = 160
MIN_SAMPLES = SHIFT - 1
CHUNK_FRAMES = 400
CHUNK_SAMPLES = CHUNK_FRAMES * SHIFT
# Frames that are convolved at a time. This bounds the memory, and 100 frames of 512 channels fit
# the caches of a CPU: one core encodes 39 x real time, with 400 frames at a time 31 x.
WINDOW_FRAMES = 100


def _weight_names(number: int) -> tuple[str, ...]:
    """Names of weight and bias of a convolution, and of its normalisation over channels."""
    modules = (f"gEncoder.conv{number}", f"gEncoder.batchNorm{number}")
    return tuple(f"{module}.{kind}" for module in modules for kind in ("weight", "bias"))


def _shapes(path: str | Path, config: Mapping[str, Any]) -> Shapes:
    """Published names and shapes of all weights.

    Raises:
        ArtefactError: the configuration has values that are not whole numbers >= 1.
    """
    for key, value in config.items():
        if type(value) is not int or value < 1:
            raise ArtefactError(
                f"{path}: CPC configuration {key}: expected a whole number >= 1, found "
                f"{value!r:.100}"
            )
    check_layers(path, "CPC configuration nLevelsGRU", config["nLevelsGRU"])
    channels = config["hiddenEncoder"]
    shapes: dict[str, tuple[int, ...]] = {}
    for number, (kernel, _, _) in enumerate(CONVOLUTIONS):
        n_inputs = channels if number else 1
        published = ((channels, n_inputs, kernel), (channels,), *[(1, channels, 1)] * 2)
        shapes |= dict(zip(_weight_names(number), published, strict=True))
    recurrent = shapes_of(_build_lstm(config).state_dict())
    return shapes | {LSTM + name: shape for name, shape in recurrent.items()}


def _build_lstm(config: Mapping[str, int]) -> nn.LSTM:
    with without_weights():
        return nn.LSTM(*(config[key] for key in CONFIG_KEYS), batch_first=True)


DESCRIPTION = "a CPC of {nLevelsGRU} LSTM layers of {hiddenGar} numbers"
CPC = Architecture("cpc", frozenset(CONFIG_KEYS), "nLevelsGRU", _shapes, DESCRIPTION)


class CpcEncoder(Encoder):
    """The output of one LSTM layer, 100 frames/s; later layers are neither loaded nor run.

    An utterance of n samples has ``(max(n, 159) + 1) // 160`` frames. Apart from the waveform and
    its frames, memory does not grow with its length.

    Args:
        weights: Safetensors file of :data:`CPC`.
        layer: LSTM layer, counted from 1; GSLM and the paper read layer 2.
        device: Torch device.

    Raises:
        ArtefactError: the file is damaged, or a weight is missing, surplus or of another shape.
        ConfigError: the model has no such layer.
    """

    kind = CPC.kind
    frame_rate = SAMPLE_RATE / SHIFT
    layer: int

    def __init__(self, *, weights: str | Path, layer: int = 2, device: str = "cpu"):
        self.layer = layer
        self.device = torch.device(device)
        tensors, config = CPC.read(weights, layer)
        on_device = {name: tensor.to(self.device) for name, tensor in tensors.items()}
        self.convolutions = [_Convolution(on_device, n) for n in range(len(CONVOLUTIONS))]
        self.lstm = _build_lstm(config).eval().requires_grad_(False)
        own = {name: on_device[LSTM + name] for name in self.lstm.state_dict()}
        self.lstm.load_state_dict(own, assign=True)
        self.dimension = config["hiddenGar"]
        # One core encodes 22 x real time, both one by one and in batches.
        self.prefers_batches = self.device.type != "cpu"
        identity = {"kind": self.kind, "weights": sha256_file(weights), "layer": layer}
        self.sha256 = sha256_json(identity)

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Encoder.encode`; the whole batch is encoded chunk by chunk."""
        order = sorted(range(len(waveforms)), key=lambda index: -len(waveforms[index]))
        missing = [max(0, MIN_SAMPLES - len(waveforms[index])) for index in order]
        rows = [functional.pad(waveforms[i], (0, n)) for i, n in zip(order, missing, strict=True)]
        frames: list[list[Tensor]] = [[] for _ in rows]
        state = None  # of the LSTM over the whole waveforms
        with full_precision():
            for first in range(0, _n_frames(rows[0]) if rows else 0, CHUNK_FRAMES):
                # The longest come first, so that those that go on, and fill this chunk, lead.
                rows = [row for row in rows if _n_frames(row) > first]
                n_full = sum(len(row) >= (first + CHUNK_FRAMES) * SHIFT for row in rows)
                output, state = self._encode_chunk(rows, first, n_full, state)
                for own, row, encoded in zip(frames, rows, output.cpu(), strict=False):
                    own.append(encoded[: _n_frames(row) - first])
        joined = {index: torch.cat(parts) for index, parts in zip(order, frames, strict=True)}
        return [joined[index] for index in range(len(waveforms))]

    def _encode_chunk(
        self, rows: Sequence[Tensor], first: int, n_full: int, state: tuple[Tensor, Tensor] | None
    ) -> tuple[Tensor, tuple[Tensor, Tensor] | None]:
        """Encode a chunk: a full one by itself, a remainder as a part of the whole waveform.

        One call of the LSTM runs over both, over the chunks from zero and over the whole waveforms
        from their state.

        Args:
            rows: Waveforms with frames from ``first`` on, longest first.
            first: The chunk's first frame.
            n_full: Number of waveforms that fill the chunk; they are the first ones.
            state: State of the LSTM over the whole waveforms before ``first``. It may have more
                rows, of waveforms that have ended.

        Returns:
            Frames ``[B, F, D]``, as many as the longest waveform has; and the state over the whole
            waveforms after them, None if no waveform has a remainder.
        """
        features = self._convolve_whole(rows, first)  # (B, F, C)
        chunks = self._convolve_ends(rows[:n_full], first, features)
        if not any(_has_remainder(row) for row in rows):
            return self.lstm(chunks)[0], None
        if state is None:
            state = self._zero_state(len(rows))
        zero = self._zero_state(n_full)
        pairs = zip(zero, state, strict=True)
        start = tuple(torch.cat([a, b[:, : len(rows)]], dim=1) for a, b in pairs)
        output, end = self.lstm(torch.cat([chunks, features]), start)
        frames = torch.cat([output[:n_full], output[2 * n_full :]])
        return frames, tuple(part[:, n_full:] for part in end)

    def _zero_state(self, n_rows: int) -> tuple[Tensor, Tensor]:
        zero = torch.zeros(self.layer, n_rows, self.dimension, device=self.device)
        return zero, zero

    def _convolve_whole(self, rows: Sequence[Tensor], first: int) -> Tensor:
        """Convolve whole waveforms: frames ``first`` to at most ``first + CHUNK_FRAMES``.

        One more frame is computed at either end, because it depends on the padding there. The
        values after a waveform's last frame are undefined.
        """
        parts = []
        last = min(_n_frames(rows[0]), first + CHUNK_FRAMES)
        for start in range(first, last, WINDOW_FRAMES):
            stop = min(start + WINDOW_FRAMES, last)
            begin = max(0, start - 1)
            going_on = [row for row in rows if _n_frames(row) > start]
            cuts = [row[begin * SHIFT : (stop + 1) * SHIFT] for row in going_on]
            part = self._convolve(cuts)[:, start - begin :][:, : stop - start]
            parts.append(functional.pad(part, (0, 0, 0, 0, 0, len(rows) - len(going_on))))
        return torch.cat(parts, dim=1)

    def _convolve_ends(self, rows: Sequence[Tensor], first: int, whole: Tensor) -> Tensor:
        """Convolve chunks by themselves; only their first and last frames have to be computed.

        Args:
            rows: Waveforms that fill the chunk.
            first: The chunk's first frame.
            whole: Frames of the whole waveforms, and of more after them, ``[>= B, F, C]``.

        Returns:
            ``[B, CHUNK_FRAMES, C]``.
        """
        if not rows:
            return whole[:0]
        begin, end = first * SHIFT, (first + CHUNK_FRAMES) * SHIFT
        heads = [row[begin : begin + 2 * SHIFT] for row in rows]
        tails = [row[end - 2 * SHIFT : end] for row in rows]
        head, tail = self._convolve(heads + tails).chunk(2)  # (B, 2, C)
        return torch.cat([head[:, :1], whole[: len(rows), 1:-1], tail[:, 1:]], dim=1)

    def _convolve(self, waveforms: Sequence[Tensor]) -> Tensor:
        """Convolve waveforms as if each were alone: ``[B, F, C]``."""
        lengths = [len(waveform) for waveform in waveforms]
        x = to_device(nn.utils.rnn.pad_sequence(list(waveforms), batch_first=True), self.device)
        x = x[:, None, None]  # (B, 1, 1, T)
        for convolution, (kernel, stride, padding) in zip(
            self.convolutions, CONVOLUTIONS, strict=True
        ):
            x = convolution(x)
            lengths = [(length + 2 * padding - kernel) // stride + 1 for length in lengths]
            if len(set(lengths)) > 1:
                # After the end of a waveform there must be zeros, as if it were alone.
                for row, length in zip(x, lengths, strict=True):
                    row[..., length:] = 0
        return x[:, :, 0].transpose(1, 2)


class _Convolution:
    """A convolution, its normalisation over channels and a ReLU: ``[B, C, 1, T]``.

    The convolution is two-dimensional, because PyTorch stores channels last only there, which makes
    the normalisation twice as fast.
    """

    def __init__(self, tensors: Mapping[str, Tensor], number: int):
        _, self.stride, self.padding = CONVOLUTIONS[number]
        weight, bias, scale, offset = (tensors[name] for name in _weight_names(number))
        n_channels = len(bias)
        # LayerNorm divides the sum of squares by C, the published normalisation by C - 1.
        ratio = (n_channels - 1) / n_channels
        self.epsilon = EPSILON * ratio
        self.weight = weight[:, :, None].contiguous(memory_format=torch.channels_last)
        self.bias, self.offset = bias, offset.flatten()
        self.scale = scale.flatten() * ratio**0.5

    def __call__(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.weight, self.bias, (1, self.stride), (0, self.padding))
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, x.shape[-1:], self.scale, self.offset, self.epsilon)
        return x.relu_().permute(0, 3, 1, 2)


def _n_frames(waveform: Tensor) -> int:
    return (len(waveform) + 1) // SHIFT


def _has_remainder(waveform: Tensor) -> bool:
    """Whether there are frames after the full chunks, which need a run over the whole waveform."""
    return _n_frames(waveform) > len(waveform) // CHUNK_SAMPLES * CHUNK_FRAMES
