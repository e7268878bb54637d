"""CPC encoders with random weights."""

import torch

FULL = {"hiddenEncoder": 512, "hiddenGar": 512, "nLevelsGRU": 4}
SMALL = {"hiddenEncoder": 24, "hiddenGar": 16, "nLevelsGRU": 3}


def random_weights(config, seed=0):
    """Weights large enough to tell frames apart, and an LSTM that remembers many."""
    generator = torch.Generator().manual_seed(seed)
    channels, hidden, n_layers = config.values()
    weights = {}

    def draw(name, *shape, scale, mean=0.0):
        weights[name] = mean + scale * torch.randn(shape, generator=generator)

    for number, kernel in enumerate((10, 8, 4, 4, 4)):
        fan_in = kernel * (channels if number else 1)
        conv, norm = f"gEncoder.conv{number}", f"gEncoder.batchNorm{number}"
        draw(f"{conv}.weight", channels, fan_in // kernel, kernel, scale=fan_in**-0.5)
        draw(f"{conv}.bias", channels, scale=0.1)
        draw(f"{norm}.weight", 1, channels, 1, scale=0.2, mean=1.0)
        draw(f"{norm}.bias", 1, channels, 1, scale=0.2)
    for level in range(n_layers):
        n_inputs = hidden if level else channels
        name = "gAR.baseNet.{}_l" + str(level)
        draw(name.format("weight_ih"), 4 * hidden, n_inputs, scale=n_inputs**-0.5)
        draw(name.format("weight_hh"), 4 * hidden, hidden, scale=0.5 * hidden**-0.5)
        draw(name.format("bias_ih"), 4 * hidden, scale=0.1)
        draw(name.format("bias_hh"), 4 * hidden, scale=0.1)
        weights[name.format("bias_ih")][hidden : 2 * hidden] += 2.0  # the forget gates
    return weights
