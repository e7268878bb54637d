import subprocess
import sys
from typing import get_args

import pytest
import torch

from speechprompt.config.encoders import AnyEncoder
from speechprompt.encoders import ENCODERS, Encoder, load_encoder
from speechprompt.errors import ConfigError


def test_mfcc_is_registered():
    encoder = load_encoder("mfcc")
    assert isinstance(encoder, Encoder)
    assert (encoder.kind, encoder.dimension, encoder.frame_rate) == ("mfcc", 39, 50.0)


def test_unknown_kind_lists_the_known_ones():
    with pytest.raises(ConfigError, match=r"cpc, hubert, logmel, mfcc.*'mffc'"):
        load_encoder("mffc")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("mfcc", {"layer": 6}), ("hubert", {"layer": 6}), ("cpc", {}), ("logmel", {"cmvn": True})],
)
def test_wrong_settings_name_the_accepted_ones(kind, settings):
    with pytest.raises(ConfigError, match="its settings are"):
        load_encoder(kind, **settings)


def test_only_the_chosen_module_is_imported():
    code = (
        "import sys; from speechprompt.encoders import load_encoder; load_encoder('mfcc');"
        "sys.exit('speechprompt.encoders.hubert' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_kind_is_its_modules_name():
    for kind in ENCODERS:
        __import__(f"speechprompt.encoders.{kind}")


def test_every_kind_can_be_configured():
    blocks = get_args(get_args(AnyEncoder)[0])
    assert sorted(block.model_fields["kind"].default for block in blocks) == sorted(ENCODERS)


def test_every_encoder_has_its_frames_for_a_weighted_sum():
    encoder = load_encoder("mfcc", every_layer=True)
    waveform = torch.randn(4000, generator=torch.Generator().manual_seed(0))
    (states,) = encoder.encode_states([waveform])
    assert states.shape == (encoder.n_states, 12, 39) == (1, 12, 39)
    assert torch.equal(states[0], encoder.encode([waveform])[0])
