"""The published computation, written out slowly: the oracle of the fast one.

One utterance at a time. Prompt rows stand in the sequence as positions of their own, pass through
all layers, and where a layer has deep rows its inputs to the key and value projections are
overwritten there. Weights come as a dictionary of fairseq's names, computed in float64.
"""

import math

import torch
import torch.nn.functional as F


def literal_hidden(
    weights,
    config,
    tokens,
    prompt=None,
    place=0,
    separator=None,
    trace=None,
    query=None,
    mixed=None,
    label_shifts=None,
):
    """Final hidden states of one sequence, prompt positions included.

    Args:
        weights: fairseq names -> float64 tensors.
        config: LMConfig of the model. Rotary positions turn neither prompt rows nor deep keys.
        tokens: list of dictionary ids.
        prompt: None, or (rows (L, D) or None, {layer: keys (L, D)}, {layer: values (L, D)}).
        place: number of tokens before the prompt; with ``query`` it is in front of all tokens, and
            the query rows are in this place.
        separator: (D,) replaces the embedding of token 0.
        trace: a list that takes the embedded input and every layer's normed input.
        query: None, or rows (L, D) that stand as tokens behind ``place`` others, and shifts
            (layers, L + 1, D) of them and of the tokens behind them.
        mixed: (m, D) embeddings of the last m tokens, in place of those of their ids.
        label_shifts: (layers, m, D) shifts of the last m tokens, beside those of ``query``.
    """
    d, heads = config.dim, config.heads
    embedded = []
    for position, token in enumerate(tokens):
        row = weights["embed_tokens.weight"][token]
        if token == 0 and separator is not None:
            row = separator
        if mixed is not None and position >= len(tokens) - len(mixed):
            row = mixed[position - len(tokens)]
        embedded.append(math.sqrt(d) * row)
    if query is not None:
        asking, shifts = query
        embedded[place:place] = math.sqrt(d) * asking
    positions = list(range(len(embedded)))
    x = torch.stack([placed(weights, config, row, i) for i, row in enumerate(embedded)])
    length, asked_at = 0, place
    place = 0 if query is not None else place
    keys, values = {}, {}
    if prompt is not None:
        rows, keys, values = prompt
        length = len(next(iter(keys.values()))) if keys else len(rows)
        if rows is None:
            rows = torch.zeros(length, d, dtype=x.dtype)
        x = torch.cat((x[:place], rows, x[place:]))
        positions[place:place] = [0] * length
    n = len(x)
    trace = [] if trace is None else trace
    trace.append(x)
    mask = torch.triu(torch.full((n, n), float("-inf"), dtype=x.dtype), 1)
    layer = 0
    while f"layers.{layer}.fc1.weight" in weights:
        w = {
            name.removeprefix(f"layers.{layer}."): tensor
            for name, tensor in weights.items()
            if name.startswith(f"layers.{layer}.")
        }
        if query is not None:
            start = length + asked_at
            end = start + len(asking) + 1
            behind = x[end:] + shifts[layer][-1]
            if label_shifts is not None:
                assert len(behind) == len(label_shifts[layer])
                behind = behind + label_shifts[layer]
            x = torch.cat((x[:start], x[start:end] + shifts[layer], behind))
        h = x if config.form == "opt-350m" else norm(x, w, "self_attn_layer_norm", config)
        trace.append(h)
        key_input, value_input = h, h
        hidden_mask = mask
        if layer in keys:
            key_input = torch.cat((h[:place], keys[layer], h[place + length :]))
            value_input = torch.cat((h[:place], values[layer], h[place + length :]))
        elif prompt is not None and prompt[0] is None:
            # A layer without deep rows, and no input rows to see: the positions are not there.
            hidden_mask = mask.clone()
            hidden_mask[:, place : place + length] = float("-inf")
            hidden_mask.fill_diagonal_(0.0)
        q = turned(linear(h, w, "self_attn.q_proj").view(n, heads, -1), config, positions)
        k = linear(key_input, w, "self_attn.k_proj").view(n, -1, d // heads)
        k = turned(k, config, positions)
        v = linear(value_input, w, "self_attn.v_proj").view(n, -1, d // heads)
        k, v = (each.repeat_interleave(heads // each.shape[1], dim=1) for each in (k, v))
        scores = torch.einsum("qhc,khc->hqk", q * (d // heads) ** -0.5, k) + hidden_mask
        read = torch.einsum("hqk,khc->qhc", scores.softmax(-1), v).reshape(n, d)
        x = x + linear(read, w, "self_attn.out_proj")
        if config.form == "opt-350m":
            x = norm(x, w, "self_attn_layer_norm", config)
            x = norm(x + feed_forward(x, w), w, "final_layer_norm", config)
        else:
            x = x + feed_forward(norm(x, w, "final_layer_norm", config), w)
        layer += 1
    return x if config.form == "opt-350m" else norm(x, weights, "layer_norm", config)


def output(weights):
    """The matrix by which hidden states are scored."""
    return weights.get("output_projection.weight", weights["embed_tokens.weight"])


def placed(weights, config, row, position):
    if config.learned_positions:
        return row + weights["embed_positions.weight"][position]
    return row if config.form == "qwen2" else row + sinusoid(position + 2, len(row))


def turned(x, config, positions):
    """Rotary positions as complex numbers: x (n, heads, width)."""
    if config.form != "qwen2":
        return x
    half = x.shape[2] // 2
    steps = torch.tensor([config.rotary_base ** (-i / half) for i in range(half)])
    angles = torch.tensor(positions)[:, None, None] * steps.double()
    y = torch.complex(x[..., :half], x[..., half:]) * torch.exp(1j * angles)
    return torch.cat((y.real, y.imag), dim=2)


def feed_forward(h, weights):
    if "gate.weight" in weights:
        return linear(
            F.silu(linear(h, weights, "gate")) * linear(h, weights, "fc1"), weights, "fc2"
        )
    return linear(F.relu(linear(h, weights, "fc1")), weights, "fc2")


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights.get(f"{name}.bias", 0.0)


def norm(x, weights, name, config):
    weight, epsilon = weights[f"{name}.weight"], config.norm_epsilon
    if config.form == "qwen2":
        return weight * x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt()
    return F.layer_norm(x, x.shape[-1:], weight, weights[f"{name}.bias"], epsilon)


def sinusoid(number, d):
    half = d // 2
    angles = [number * math.exp(-i * math.log(10000) / (half - 1)) for i in range(half)]
    return torch.tensor(
        [math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64
    )
