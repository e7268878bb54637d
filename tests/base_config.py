"""A small configuration, and copies of it with one value changed."""

import yaml

BASE = {
    "corpora": {
        "words": {"kind": "synthetic"},
        "ready": {"kind": "units", "codebook": "other", "train": "a", "valid": "b"},
    },
    "encoders": {"mfcc": {"kind": "mfcc", "sample_corpora": ["words"]}},
    "codebooks": {"k100": {"encoder": "mfcc"}, "other": {"kind": "external", "dictionary": "d"}},
    "lm": {"small": {"codebook": "k100", "corpora": ["words"]}},
    "tasks": {"ks": {"corpus": "words", "lm": "small"}},
}


PRETRAINED = {
    "kind": "hubert",
    "layer": 4,
    "pretraining": {"targets": "k100", "corpora": ["words"]},
}


def changed_block(block, **changes):
    """A copy of an encoder's block with other settings of its pre-training."""
    return block | {"pretraining": block["pretraining"] | changes}


def changed(path, value):
    """A copy of BASE with one value set, by its path of keys."""
    result = yaml.safe_load(yaml.safe_dump(BASE))
    node = result
    *parents, last = path.split(".")
    for key in parents:
        node = node.setdefault(key, {})
    node[last] = value
    return result
