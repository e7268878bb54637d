"""A HuBERT that is small enough to count its operations by hand."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2]))

from benchmarks.encoders import HUBERT_BASE

SMALL_HUBERT = HUBERT_BASE | {
    "extractor_conv_layer_config": [[8, 10, 5], [8, 3, 2]],
    "encoder_embed_dim": 16,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 4,
    "encoder_num_layers": 2,
    "encoder_num_heads": 2,
    "encoder_ff_interm_features": 24,
}
