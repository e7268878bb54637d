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
    heads,
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
    d = weights["embed_tokens.weight"].shape[1]
    embedded = []
    for position, token in enumerate(tokens):
        row = weights["embed_tokens.weight"][token]
        if token == 0 and separator is not None:
            row = separator
        if mixed is not None and position >= len(tokens) - len(mixed):
            row = mixed[position - len(tokens)]
        embedded.append(math.sqrt(d) * row + sinusoid(position + 2, d))
    if query is not None:
        asking, shifts = query
        behind = [sinusoid(place + i + 2, d) for i in range(len(asking))]
        moved = [
            embedded[i] + sinusoid(i + len(asking) + 2, d) - sinusoid(i + 2, d)
            for i in range(place, len(tokens))
        ]
        embedded[place:] = [*(math.sqrt(d) * asking + torch.stack(behind)), *moved]
    x = torch.stack(embedded)
    length, asked_at = 0, place
    place = 0 if query is not None else place
    keys, values = {}, {}
    if prompt is not None:
        rows, keys, values = prompt
        length = len(next(iter(keys.values()))) if keys else len(rows)
        if rows is None:
            rows = torch.zeros(length, d, dtype=x.dtype)
        x = torch.cat((x[:place], rows, x[place:]))
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
        h = norm(x, w, "self_attn_layer_norm")
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
        q = linear(h, w, "self_attn.q_proj").view(n, heads, -1) * (d // heads) ** -0.5
        k = linear(key_input, w, "self_attn.k_proj").view(n, heads, -1)
        v = linear(value_input, w, "self_attn.v_proj").view(n, heads, -1)
        scores = torch.einsum("qhc,khc->hqk", q, k) + hidden_mask
        mixed = torch.einsum("hqk,khc->qhc", scores.softmax(-1), v).reshape(n, d)
        x = x + linear(mixed, w, "self_attn.out_proj")
        h = norm(x, w, "final_layer_norm")
        x = x + linear(F.relu(linear(h, w, "fc1")), w, "fc2")
        layer += 1
    return norm(x, weights, "layer_norm")


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(x, weights, name):
    return F.layer_norm(
        x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps=1e-5
    )


def sinusoid(number, d):
    half = d // 2
    angles = [number * math.exp(-i * math.log(10000) / (half - 1)) for i in range(half)]
    return torch.tensor(
        [math.sin(a) for a in angles] + [math.cos(a) for a in angles], dtype=torch.float64
    )
