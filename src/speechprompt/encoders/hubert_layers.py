"""HuBERT's layers over the concatenated utterances of a batch, without padding.

They compute the same function as torchaudio's layers, with the same weights, in a form that is
fastest on CPUs. Activations are rows ``[time, channels]``. A convolution is a matrix product of its
windows with its weight. Products run over blocks of rows, in which one utterance may end and
another begin. Operations along time, convolutions and attention, stay within an utterance. On a
CPU, a row of a product has the same bits in any block, so that frames do not depend on the batch.

Blocks have few different sizes, because oneDNN compiles a kernel for each size, which takes a
millisecond and up to a megabyte.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence
from torchaudio.models import Wav2Vec2Model
from torchaudio.models.wav2vec2 import components

from speechprompt.encoders.groups import Group, group_utterances
from speechprompt.encoders.linear import Product
from speechprompt.encoders.positions import Distances, Gate, GatedAttention, attend_by_distance
from speechprompt.runtime.device import to_device, to_host

__all__ = ["HubertLayers"]

# Frames that the front end computes at a time: two seconds of audio, whose activations fit the
# cache. An utterance's last piece is padded to a multiple of the step. A second of audio has 49
# frames.
PIECE_FRAMES = 98
PIECE_STEP = 7
# Rows that a product computes at a time. The rows of a batch are padded to a multiple of the step.
BLOCK_ROWS = 512
BLOCK_STEP = 32
# On an accelerator the start of an operation takes long, so that pieces and blocks are large, and
# utterances whose frames fit one piece together are computed at once. A GPU with more memory gets
# larger pieces.
ACCELERATED_FRAMES = 3136
FRAME_BYTES = 400_000  # of the convolutions' activations
SHARE_OF_MEMORY = 24
ACCELERATED_ROWS = 32_768
# Stretches of 256 frames that the positional convolution transforms at a time.
STRETCHES = 32
ACCELERATED_STRETCHES = 512


class HubertLayers:
    """A whole model, for utterances of any lengths.

    Args:
        model: torchaudio's model with weights in float32; it is not needed afterwards.
        dtype: Type of the products.
    """

    def __init__(self, model: Wav2Vec2Model, dtype: torch.dtype) -> None:
        projection, transformer = model.encoder.feature_projection, model.encoder.transformer
        self.device = projection.projection.weight.device
        self.front_end = ConvolutionalFrontEnd(model.feature_extractor, dtype)
        self.feature_norm = projection.layer_norm
        self.project = _product(projection.projection, dtype)
        self.position = PositionalConvolution(transformer.pos_conv_embed)
        self.norm = transformer.layer_norm if transformer.layer_norm_first else nn.Identity()
        first = transformer.layers[0].attention
        distances = Distances(first) if isinstance(first, GatedAttention) else None
        self.layers = [TransformerLayer(layer, dtype, distances) for layer in transformer.layers]

    def __call__(self, waveforms: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """Encode waveforms of at least a window, given and returned on the CPU.

        Returns:
            Float32 ``[n_frames, D]`` of the last layer for each.
        """
        lengths, states = self._run(waveforms)
        (last,) = deque(states, maxlen=1)
        return to_host(last).split(lengths)

    def states(self, waveforms: Sequence[Tensor]) -> list[Tensor]:
        """Encode into ``[S, n_frames, D]``: the input of the first layer, and all outputs."""
        lengths, states = self._run(waveforms)
        return list(torch.stack(list(states)).split(lengths, dim=1))

    def _run(self, waveforms: Sequence[Tensor]) -> tuple[list[int], Iterator[Tensor]]:
        """Numbers of frames, and the rows ``[all frames, D]`` before and after each layer."""
        lengths = [self.front_end.n_frames(len(waveform)) for waveform in waveforms]
        groups = group_utterances(lengths, self.device)
        pieces = list(self.front_end(waveforms, self.device))
        filling = pieces[0].new_zeros(-sum(lengths) % BLOCK_STEP, pieces[0].shape[1])
        blocks = torch.cat([*pieces, filling])
        blocks = blocks.split(_block_rows(blocks))
        x = torch.cat([self.project(self.feature_norm(block.float())) for block in blocks]).float()
        return lengths, self._through_layers(self.norm(x + self.position(x, groups)), groups)

    def _through_layers(self, x: Tensor, groups: Sequence[Group]) -> Iterator[Tensor]:
        n_rows = groups[-1].rows.stop
        yield x[:n_rows]
        for layer in self.layers:
            x = layer(x, groups)
            yield x[:n_rows]


class ConvolutionalFrontEnd:
    """The convolutions over the waveform, piece by piece, so that memory does not grow with it.

    Args:
        extractor: torchaudio's convolutions.
        dtype: Type of the products, except for the first convolution, which is float32.
    """

    def __init__(self, extractor: components.FeatureExtractor, dtype: torch.dtype) -> None:
        first, *later = extractor.conv_layers
        self.first = _Convolution(first, torch.float32)
        self.later = [_Convolution(block, dtype) for block in later]
        self.dtype = dtype
        self.window, self.shift = 1, 1
        for convolution in (self.first, *self.later):
            self.window += (convolution.kernel - 1) * self.shift
            self.shift *= convolution.stride

    def n_frames(self, n_samples: int) -> int:
        """Number of frames of an utterance."""
        return (n_samples - self.window) // self.shift + 1

    def __call__(self, waveforms: Sequence[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Features of waveforms ``[n_samples]`` on the CPU, in pieces ``[frames, C]``.

        On an accelerator, short waveforms are padded and computed together.
        """
        most = 0 if device.type == "cpu" else _most_frames(device)
        lengths = [self.n_frames(len(waveform)) for waveform in waveforms]
        remaining = iter(waveforms)
        for group in group_utterances(lengths, device, most):
            together = [next(remaining) for _ in range(group.size)]
            if group.size * group.longest <= most:
                yield self._together(together, group, device)
            else:
                for waveform in together:
                    yield from self._piecewise(to_device(waveform, device))

    def _together(self, waveforms: Sequence[Tensor], group: Group, device: torch.device) -> Tensor:
        # Padding behind an utterance reaches no frame of it.
        batch = to_device(pad_sequence(list(waveforms), batch_first=True), device)[:, :, None]
        windows = [(len(w) - self.first.kernel) // self.first.stride + 1 for w in waveforms]
        x = self.first.together(batch, to_device(torch.tensor(windows), device)).to(self.dtype)
        for convolution in self.later:
            x = convolution(x)
        return group.unpad(x)

    def _piecewise(self, waveform: Tensor) -> Iterator[Tensor]:
        """Features of one waveform, so that memory does not grow with it."""
        n_frames = self.n_frames(len(waveform))
        first = self.first.over(waveform)
        on_cpu = waveform.device.type == "cpu"
        longest = PIECE_FRAMES if on_cpu else ACCELERATED_FRAMES
        for start in range(0, n_frames, longest):
            n = min(longest, n_frames - start)
            n_filled = -(-n // PIECE_STEP) * PIECE_STEP
            size = (n_filled - 1) * self.shift + self.window
            piece = waveform[start * self.shift :][:size]
            x = first(F.pad(piece, (0, size - len(piece)))[:, None]).to(self.dtype)
            for convolution in self.later:
                x = convolution(x)
            yield x[:n]


class _Convolution:
    """A convolution, its norm if it has one, and GELU: (T, C) to (T', O)."""

    def __init__(self, block: components.ConvLayerBlock, dtype: torch.dtype) -> None:
        self.kernel, self.stride, self.norm = block.kernel_size, block.stride, block.layer_norm
        self.bias = block.conv.bias
        weight = block.conv.weight.transpose(1, 2).flatten(1)  # (O, kernel * C)
        if isinstance(self.norm, nn.GroupNorm):
            self.weight = weight.double()
        else:
            self.product = Product(weight.to(dtype), self.bias, gelu=self.norm is None)

    def over(self, waveform: Tensor) -> Callable[[Tensor], Tensor]:
        """Return the convolution for pieces of this waveform.

        HuBERT base has a GroupNorm here, which normalises each channel to mean 0 and variance 1
        over the whole utterance. A channel is a linear function of windows of ten samples, so that
        its mean and variance follow from the mean and covariance of the windows. The norm is
        therefore folded into weight and bias, and no activation is computed twice or stored.
        """
        if not isinstance(self.norm, nn.GroupNorm):
            return self
        moments = self.weight.new_zeros(1 + self.weight.shape[1], 1 + self.weight.shape[1])
        for part in self.windows(waveform[:, None]).split(2**16):
            rows = F.pad(part.double(), (1, 0), value=1.0)
            moments += rows.T @ rows
        product = Product(*self._fold(self.norm, moments), gelu=True)
        return lambda x: product(self.windows(x))

    def together(self, x: Tensor, n_windows: Tensor) -> Tensor:
        """The convolution of padded waveforms (n, T, 1), of which (n,) windows are no padding."""
        if not isinstance(self.norm, nn.GroupNorm):
            return self(x)
        windows = self.windows(x)
        rows = F.pad(windows.double(), (1, 0), value=1.0)
        real = torch.arange(rows.shape[1], device=x.device) < n_windows[:, None]
        moments = (rows * real[:, :, None]).mT @ rows
        weight, bias = self._fold(self.norm, moments)
        return F.gelu(torch.baddbmm(bias[:, None], windows, weight.mT))

    def _fold(self, norm: nn.GroupNorm, moments: Tensor) -> tuple[Tensor, Tensor]:
        """Weight (..., O, kernel) and bias (..., O) with the norm, for windows with these moments.

        Args:
            norm: the norm.
            moments: (..., 1 + kernel, 1 + kernel) sums of the products of 1 and the samples.
        """
        moments = moments / moments[..., :1, :1]
        mean = moments[..., :1, 1:]
        covariance = moments[..., 1:, 1:] - mean.mT @ mean
        variance = ((self.weight @ covariance) * self.weight).sum(dim=-1).clamp(min=0)
        scale = norm.weight / (variance + norm.eps).sqrt()
        # A bias of the convolution itself is part of the mean, so that it cancels.
        bias = norm.bias - scale * (mean @ self.weight.mT)[..., 0, :]
        return (scale[..., None] * self.weight).float(), bias.float()

    def __call__(self, x: Tensor) -> Tensor:
        on_cpu = x.device.type == "cpu"
        x = self.product(self.windows(x)) if on_cpu else self._by_strides(x)
        if self.norm is None:
            return x
        norm = self.norm  # torchaudio's layer expects channels before time
        y = F.layer_norm(x.float(), norm.normalized_shape, norm.weight, norm.bias, norm.eps)
        return F.gelu(y).to(x.dtype)

    def _by_strides(self, x: Tensor) -> Tensor:
        """The product with the windows (..., T', O) as a sum of products with rows of ``x``.

        Windows overlap, and cuBLAS would get a copy of them. Their first ``stride`` samples do not,
        nor do the next ones.
        """
        batch = x if x.dim() == 3 else x[None]
        n, length, n_channels = batch.shape
        n_windows = (length - self.kernel) // self.stride + 1
        weight, total = self.product.weight.T.to(x.dtype), None
        for start in range(0, self.kernel, self.stride):
            taps = min(self.stride, self.kernel - start)
            rows = batch.as_strided(
                (n, n_windows, taps * n_channels),
                (batch.stride(0), self.stride * n_channels, 1),
                batch.storage_offset() + start * n_channels,
            )
            part = weight[start * n_channels :][: taps * n_channels].expand(n, -1, -1)
            total = torch.bmm(rows, part) if total is None else total.baddbmm_(rows, part)
        assert total is not None
        if self.bias is not None:
            total += self.bias.to(total.dtype)
        total = F.gelu(total) if self.norm is None else total
        return total.view(*x.shape[:-2], n_windows, -1)

    def windows(self, x: Tensor) -> Tensor:
        """(..., T, C) to (..., T', kernel * C), without a copy."""
        *batch, length, n_channels = x.shape
        n_windows = (length - self.kernel) // self.stride + 1
        shape = (*batch, n_windows, self.kernel * n_channels)
        return x.as_strided(shape, (*x.stride()[:-2], self.stride * n_channels, 1))


class PositionalConvolution:
    """The grouped convolution over 128 frames and its GELU, in float32.

    It is computed in the frequency domain by overlap-save. This takes an eighth of the operations
    of the sum over 128 frames, and on Zen 4 less than a third of the time.

    Args:
        embedding: torchaudio's module, without its weight norm; ``batch_norm`` may be its norm of
            the input.
    """

    def __init__(self, embedding: components.ConvolutionalPositionalEmbedding) -> None:
        conv = embedding.conv
        self.bias, self.groups, self.kernel = conv.bias, conv.groups, conv.kernel_size[0]
        self.size = 2 * self.kernel  # of a stretch; its last kernel - 1 outputs are not valid
        self.hop = self.size - self.kernel + 1
        spectrum = torch.fft.rfft(conv.weight, n=self.size).conj()  # (D, D / groups, F)
        spectrum = spectrum.unflatten(0, (self.groups, -1))  # (groups, out, in, F)
        self.spectrum = spectrum.permute(3, 0, 2, 1).contiguous()  # (F, groups, in, out)
        self.scale = self.offset = None
        if (norm := getattr(embedding, "batch_norm", None)) is not None:
            self.scale = norm.weight / (norm.running_var + norm.eps).sqrt()
            self.offset = norm.bias - norm.running_mean * self.scale

    def __call__(self, x: Tensor, groups: Sequence[Group]) -> Tensor:
        """Map the rows (N, D) of a batch's utterances to rows of the same shape."""
        if self.scale is not None and self.offset is not None:
            # Not a part of the weight: outside of an utterance there are zeros, not the offset.
            x = torch.addcmul(self.offset, x, self.scale)
        stretches = [self._stretches(group.pad(x)) for group in groups]
        counts = [len(part) for part in stretches]
        # An odd stretch would become a product with a vector, which rounds differently.
        stretches.append(x.new_zeros(sum(counts) % 2, x.shape[1], self.size))
        on_cpu = x.device.type == "cpu"
        parts = torch.cat(stretches).split(STRETCHES if on_cpu else ACCELERATED_STRETCHES)
        output = torch.cat([self._convolve(part) for part in parts])  # (S, hop, D)
        result = torch.zeros_like(x)
        for group, own in zip(groups, output[: sum(counts)].split(counts), strict=True):
            utterances = own.reshape(group.size, -1, x.shape[1])[:, : group.longest]
            result[group.rows] = group.unpad(utterances)
        return F.gelu(result.add_(self.bias))

    def _stretches(self, rows: Tensor) -> Tensor:
        """(n, T, D) to (n * count, D, size), with a hop between the starts of stretches."""
        before, length = self.kernel // 2, rows.shape[1]
        count = -(-length // self.hop)
        after = count * self.hop + self.kernel - 1 - before - length
        padded = F.pad(rows, (0, 0, before, after))
        return padded.unfold(1, self.size, self.hop).flatten(0, 1)

    def _convolve(self, stretches: Tensor) -> Tensor:
        """(S, D, size) to (S, hop, D)."""
        spectrum = torch.fft.rfft(stretches).unflatten(1, (self.groups, -1))
        product = spectrum.permute(3, 1, 0, 2) @ self.spectrum  # (F, groups, S, D / groups)
        product = product.permute(2, 0, 1, 3).flatten(2)  # (S, F, D)
        return torch.fft.irfft(product, n=self.size, dim=1)[:, : self.hop]


class TransformerLayer:
    """Attention and feed-forward network; norms and residual connections are float32.

    Args:
        layer: torchaudio's layer.
        dtype: Type of products and attention.
        distances: WavLM's bias for distances, which all layers share; None without one.
    """

    def __init__(
        self, layer: components.EncoderLayer, dtype: torch.dtype, distances: Distances | None
    ) -> None:
        attention, network = layer.attention, layer.feed_forward
        projections = (attention.q_proj, attention.k_proj, attention.v_proj)
        weight = torch.cat([projection.weight for projection in projections])
        bias = torch.cat([projection.bias for projection in projections])
        self.heads = attention.num_heads
        self.project = Product(weight.to(dtype), bias)
        self.mix = _product(attention.out_proj, dtype)
        self.widen = _product(network.intermediate_dense, dtype, gelu=True)
        self.narrow = _product(network.output_dense, dtype)
        self.norm_first = layer.layer_norm_first
        self.norm, self.final_norm = layer.layer_norm, layer.final_layer_norm
        self.distances = distances
        self.gate = Gate(attention) if distances else None

    def __call__(self, x: Tensor, groups: Sequence[Group]) -> Tensor:
        """Map the rows (N, D) of a batch's utterances to rows of the same shape."""
        rows = _block_rows(x)
        blocks = x.split(rows)
        inputs = [self.norm(block) if self.norm_first else block for block in blocks]
        gates = torch.cat([self.gate(block) for block in inputs]) if self.gate else None
        projected = torch.cat([self.project(block) for block in inputs])
        mixed = self._attend(projected, groups, gates)
        pairs = zip(blocks, mixed.split(rows), strict=True)
        return torch.cat([self._finish(block, attended) for block, attended in pairs])

    def _finish(self, x: Tensor, attended: Tensor) -> Tensor:
        x = x + self.mix(attended)
        if self.norm_first:
            return x + self.narrow(self.widen(self.final_norm(x)))
        x = self.norm(x)
        return self.final_norm(x + self.narrow(self.widen(x)))

    def _attend(self, projected: Tensor, groups: Sequence[Group], gates: Tensor | None) -> Tensor:
        """Attend within each utterance: queries, keys and values (N, 3 * D) to (N, D)."""
        n_rows, width = projected.shape
        mixed = projected.new_zeros(n_rows, width // 3)
        for group in groups:
            padded = group.pad(projected).unflatten(2, (3, self.heads, -1))
            q, k, v = padded.permute(2, 0, 3, 1, 4)  # (n, heads, longest, D / heads) each
            if gates is None or self.distances is None:
                attended = F.scaled_dot_product_attention(q, k, v, attn_mask=group.mask)
            else:
                bias = self.distances.bias(group.longest)
                own = group.pad(gates)
                attended = attend_by_distance(q, k, v, mask=group.mask, gates=own, bias=bias)
            mixed[group.rows] = group.unpad(attended.transpose(1, 2))
        return mixed


def _most_frames(device: torch.device) -> int:
    """Frames that an accelerator's front end computes at once."""
    if device.type != "cuda":
        return ACCELERATED_FRAMES
    memory = torch.cuda.get_device_properties(device).total_memory
    return max(ACCELERATED_FRAMES, memory // SHARE_OF_MEMORY // FRAME_BYTES)


def _block_rows(x: Tensor) -> int:
    return BLOCK_ROWS if x.device.type == "cpu" else ACCELERATED_ROWS


def _product(linear: nn.Linear, dtype: torch.dtype, *, gelu: bool = False) -> Product:
    return Product(linear.weight.to(dtype), linear.bias, gelu=gelu)
