"""CPC (Rivière et al., 2020) as GSLM reads it, weights from a safetensors file.

The checkpoint ``cpc_big_ll6kh_top_ctc.pt`` is read by ``CpcFeatureReader`` of fairseq
(``examples/textless_nlp/gslm/speech2unit/pretrained/cpc_feature_reader.py``), which fixes:

- five convolutions of ``hiddenEncoder`` channels over the waveform as it is, each followed by a
  normalisation over the *channels* of a frame (variance with C - 1, epsilon 1e-5) and a ReLU;
- an LSTM of ``nLevelsGRU`` layers of ``hiddenGar`` numbers; the frames are the output of layer 2;
- an utterance is cut into chunks of 64,000 samples. Each is encoded by itself: zeros around it in
  the convolutions, and the LSTM starts from zero;
- the samples that do not fill a chunk are not encoded by themselves. The reader means to take the
  last 64,000 samples, but cuts the wrong axis: their frames are the last ones of a run over the
  *whole* utterance. Published units are made so, and so are ours.

Two oddities of the reader are left out, so that n samples always have ``(n + 1) // 160`` frames. A
remainder of 1 to 158 samples has no frame of its own, and the reader appends those of the whole
utterance once more. Before a remainder of 25,599 samples or more that lacks one sample to a
multiple of 160, it repeats one or two frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from speechprompt.audio.reading import SAMPLE_RATE
from speechprompt.encoders.base import Encoder
from speechprompt.encoders.cpc_weights import (
    AR_PREFIX,
    CONFIG_KEYS,
    CONVOLUTIONS,
    CPC,
    convolution_names,
)
from speechprompt.encoders.weights import full_precision
from speechprompt.runtime.device import to_device
from speechprompt.runtime.uninitialised import without_weights
from speechprompt.storage.hashes import sha256_file, sha256_json

__all__ = ["CpcEncoder"]

EPSILON = 1e-5
SHIFT = 160
MIN_SAMPLES = SHIFT - 1
CHUNK_FRAMES = 400
CHUNK_SAMPLES = CHUNK_FRAMES * SHIFT
# Frames convolved at a time: bounds the memory, and a second of 512 channels is kinder to the
# processor's caches (39 x real time on one core, where 400 at a time make 31 x).
WINDOW_FRAMES = 100


class CpcEncoder(Encoder):
    """The output of one LSTM layer, 100 frames/s; later layers are neither loaded nor run.

    An utterance of n samples has ``(max(n, 159) + 1) // 160`` frames. Memory does not grow with its
    length, the waveform and its frames apart.

    Args:
        weights: File written by :func:`speechprompt.encoders.cpc_weights.save_cpc`.
        layer: LSTM layer, counted from 1; GSLM and the paper read layer 2.
        device: Torch device.

    Raises:
        ArtefactError: the file is damaged, or has missing, surplus or misshapen weights.
        ConfigError: the model has no such layer.
    """

    kind = CPC.kind
    frame_rate = SAMPLE_RATE / SHIFT

    def __init__(self, *, weights: str | Path, layer: int = 2, device: str = "cpu"):
        self.layer = layer
        self.device = torch.device(device)
        tensors, config = CPC.read(weights, layer)
        self.convolutions = [
            _Convolution(tensors, number).to(self.device) for number in range(len(CONVOLUTIONS))
        ]
        self.lstm = _build_lstm(tensors, config).to(self.device)
        self.dimension = config["hiddenGar"]
        # Measured on one core: 22 x real time one by one and in batches alike.
        self.prefers_batches = self.device.type != "cpu"
        identity = {"kind": self.kind, "weights": sha256_file(weights), "layer": layer}
        self.sha256 = sha256_json(identity)

    @torch.inference_mode()
    def encode(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """See :meth:`Encoder.encode`; chunk by chunk, the whole batch side by side."""
        order = sorted(range(len(waveforms)), key=lambda index: -len(waveforms[index]))
        rows = [_fill_up(waveforms[index]) for index in order]
        frames: list[list[Tensor]] = [[] for _ in rows]
        state = None  # of the runs over whole utterances
        with full_precision(self.device):
            for first in range(0, _n_frames(rows[0]) if rows else 0, CHUNK_FRAMES):
                # The longest come first: who goes on, and who fills this chunk, leads the others.
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
        """A chunk's frames: of a full chunk by itself, of a remainder from the whole waveform.

        One call of the LSTM runs both, the chunks from zero and the whole waveforms from where
        they were.

        Args:
            rows: Waveforms with frames from ``first`` on, longest first.
            first: The chunk's first frame.
            n_full: Waveforms, the first of them, that fill the chunk.
            state: Of the LSTM over the whole waveforms before ``first``; shorter ones may follow.

        Returns:
            Frames ``[B, F, D]``, F of the longest; and the state over the whole waveforms after
            them, None where no waveform has a remainder.
        """
        features = self._convolve_whole(rows, first)  # (B, F, C)
        chunks = self._convolve_ends(rows[:n_full], first, features)
        if not any(_has_remainder(row) for row in rows):
            return self.lstm(chunks)[0], None
        if state is None:
            state = self._zero_state(len(rows))
        zero = self._zero_state(n_full)
        start = tuple(
            torch.cat([a, b[:, : len(rows)]], dim=1) for a, b in zip(zero, state, strict=True)
        )
        output, end = self.lstm(torch.cat([chunks, features]), start)
        frames = torch.cat([output[:n_full], output[2 * n_full :]])
        return frames, tuple(part[:, n_full:] for part in end)

    def _zero_state(self, n_rows: int) -> tuple[Tensor, Tensor]:
        zero = torch.zeros(self.layer, n_rows, self.dimension, device=self.device)
        return zero, zero

    def _convolve_whole(self, rows: Sequence[Tensor], first: int) -> Tensor:
        """Convolve whole waveforms: frames ``first`` to at most ``first + CHUNK_FRAMES``.

        A frame beside those wanted takes the padding at either end. Frames that a waveform does
        not have are left to chance.
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
        """Convolve chunks by themselves: all but their ends are frames of the whole waveforms.

        Args:
            rows: Waveforms that fill the chunk.
            first: The chunk's first frame.
            whole: Frames of the whole waveforms and of others after them, ``[>= B, F, C]``.

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
        """Convolve pieces of audio, each as if it were alone: ``[B, F, C]``."""
        lengths = [len(waveform) for waveform in waveforms]
        x = to_device(nn.utils.rnn.pad_sequence(list(waveforms), batch_first=True), self.device)
        x = x[:, None, None]  # (B, 1, 1, T)
        for convolution, (kernel, stride, padding) in zip(
            self.convolutions, CONVOLUTIONS, strict=True
        ):
            x = convolution(x)
            lengths = [(length + 2 * padding - kernel) // stride + 1 for length in lengths]
            if len(set(lengths)) > 1:
                # What follows a piece must be the zeros that pad it alone.
                for row, length in zip(x, lengths, strict=True):
                    row[..., length:] = 0
        return x[:, :, 0].transpose(1, 2)


class _Convolution(nn.Module):
    """A convolution, its channel normalisation and a ReLU, channels last: ``[B, C, 1, T]``.

    Two-dimensional, because PyTorch keeps channels last, where the normalisation is twice as fast,
    only there.
    """

    def __init__(self, tensors: Mapping[str, Tensor], number: int):
        super().__init__()
        _, self.stride, self.padding = CONVOLUTIONS[number]
        weight, bias, scale, offset = (
            tensors[f"gEncoder.{name}"] for name in convolution_names(number)
        )
        n_channels = len(bias)
        # LayerNorm divides the variance by C, the published normalisation by C - 1.
        ratio = (n_channels - 1) / n_channels
        self.epsilon = EPSILON * ratio
        two_dimensional = weight[:, :, None].contiguous(memory_format=torch.channels_last)
        self.register_buffer("weight", two_dimensional)
        self.register_buffer("bias", bias)
        self.register_buffer("scale", scale.flatten() * ratio**0.5)
        self.register_buffer("offset", offset.flatten())

    def forward(self, x: Tensor) -> Tensor:
        x = functional.conv2d(x, self.weight, self.bias, (1, self.stride), (0, self.padding))
        x = x.permute(0, 2, 3, 1)
        x = functional.layer_norm(x, x.shape[-1:], self.scale, self.offset, self.epsilon)
        return x.relu_().permute(0, 3, 1, 2)


def _build_lstm(tensors: Mapping[str, Tensor], config: Mapping[str, int]) -> nn.LSTM:
    with without_weights():
        lstm = nn.LSTM(*(config[key] for key in CONFIG_KEYS), batch_first=True)
    own = {
        name.removeprefix(AR_PREFIX): tensor
        for name, tensor in tensors.items()
        if name.startswith(AR_PREFIX)
    }
    lstm.load_state_dict(own, strict=True, assign=True)
    return lstm.eval().requires_grad_(False)


def _fill_up(waveform: Tensor) -> Tensor:
    missing = MIN_SAMPLES - len(waveform)
    return functional.pad(waveform, (0, missing)) if missing > 0 else waveform


def _n_frames(waveform: Tensor) -> int:
    return (len(waveform) + 1) // SHIFT


def _has_remainder(waveform: Tensor) -> bool:
    """Whether frames are left beyond the full chunks, for which the whole waveform is run."""
    return _n_frames(waveform) > len(waveform) // CHUNK_SAMPLES * CHUNK_FRAMES
