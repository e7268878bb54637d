"""Encoders of transformers with random weights, as folders that transformers itself writes."""

import torch
import transformers

N_LAYERS = 3
SMALL = {
    "hidden_size": 48,
    "num_hidden_layers": N_LAYERS,
    "num_attention_heads": 4,
    "intermediate_size": 96,
    "conv_dim": [32] * 7,
}
BASE = {"num_conv_pos_embeddings": 128, "num_conv_pos_embedding_groups": 16}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
# Slam's and TWIST's HuBERT has 25 frames a second.
SLOW = {
    "conv_pos_batch_norm": True,
    "conv_dim": [32] * 8,
    "conv_kernel": [10, 3, 3, 3, 3, 2, 2, 2],
    "conv_stride": [5, 2, 2, 2, 2, 2, 2, 2],
}
MODELS = {
    "hubert-base": ("hubert", BASE, False),
    "hubert-large": ("hubert", LARGE, True),
    "hubert-biased": ("hubert", {"conv_bias": True, "num_conv_pos_embeddings": 17}, True),
    "hubert-stable": ("hubert", {"do_stable_layer_norm": True}, False),
    "hubert-25hz": ("hubert", SLOW, False),
    "wav2vec2-base": ("wav2vec2", BASE, True),
    "wav2vec2-large": ("wav2vec2", LARGE, True),
    "wavlm-base": ("wavlm", BASE, False),
    "wavlm-large": ("wavlm", LARGE, True),
    "wavlm-near": ("wavlm", {"num_buckets": 20, "max_bucket_distance": 30}, False),
}
CLASSES = {"hubert": "Hubert", "wav2vec2": "Wav2Vec2", "wavlm": "WavLM"}


def build(kind, settings, head="Model", seed=0):
    """A model of transformers with random weights large enough to tell frames apart."""
    name = CLASSES[kind]
    config = getattr(transformers, f"{name}Config")(**settings)
    torch.manual_seed(seed)
    model = getattr(transformers, f"{name}{head}")(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in (*model.named_parameters(), *model.named_buffers()):
            if not weight.is_floating_point() or name.endswith("original0"):
                continue
            if name.endswith("gru_rel_pos_const"):
                weight.copy_(1 + torch.rand(weight.shape, generator=generator))
                continue
            noise = torch.randn(weight.shape, generator=generator)
            if name.endswith("running_var"):
                weight.copy_(0.5 + noise.abs())
            elif "norm" in name and name.endswith("weight"):
                weight.copy_(1 + 0.1 * noise)
            elif weight.ndim > 1:
                weight.copy_(noise * weight[0].numel() ** -0.5)
            else:
                weight.copy_(0.1 * noise)
    return model


def write(model, folder, normalize, **options):
    """The folder of a model and of its preprocessor, as transformers writes them."""
    model.save_pretrained(folder, **options)
    preprocessor(normalize).save_pretrained(folder)
    return folder


def preprocessor(normalize):
    return transformers.Wav2Vec2FeatureExtractor(
        do_normalize=normalize, return_attention_mask=normalize
    )


def speech(n_samples, seed):
    """Noise with a slow envelope, so that frames differ over time."""
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(n_samples) / 16_000
    envelope = 0.02 + (torch.sin(2 * torch.pi * (2 + seed) * time) + 1) / 40
    tone = torch.sin(2 * torch.pi * (200 + 90 * seed) * time)
    return envelope * (tone + 0.3 * torch.randn(n_samples, generator=generator))
