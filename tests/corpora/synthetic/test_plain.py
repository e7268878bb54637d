"""Plain renditions: one voice per accent, the timing of the sentence that another voice says."""

import numpy as np
import pytest
import torch

from speechprompt.config.corpora import SyntheticCorpus
from speechprompt.corpora.synthetic import plan
from speechprompt.corpora.synthetic.espeak import Speaker
from speechprompt.encoders import load_encoder
from speechprompt.errors import ConfigError
from speechprompt.evaluation.phone_quality import phones_at

SIZES = {"n_train": 12, "n_valid": 0, "n_test": 0}


def plan_task(task, **settings):
    """A plan of the task; the configuration itself would refuse splits without utterances."""
    return plan(SyntheticCorpus.model_construct(task=task, **SIZES, **settings), 1)


@pytest.fixture(scope="module")
def pairs():
    """Sentences as voices say them, and plainly: (waveform, alignment) each."""
    spoken = plan_task("english")
    plain = plan_task("english", plain=True)
    with Speaker() as speaker:
        return [(a.render(speaker), b.render(speaker)) for a, b in zip(spoken, plain, strict=True)]


def test_they_take_the_same_time(pairs):
    same = []
    for (waveform, phones), (plain, plain_phones) in pairs:
        assert waveform.shape == plain.shape
        assert phones.end == plain_phones.end
        times = np.arange(0, phones.end, 0.01)
        said = [phones_at(a.phones, a.starts, times) for a in (phones, plain_phones)]
        same += (said[0] == said[1]).tolist()
    assert np.mean(same) > 0.85


def test_they_are_quiet_and_of_one_level(pairs):
    levels = [20 * np.log10(np.sqrt(np.mean(plain**2))) for _, (plain, _) in pairs]
    assert max(levels) - min(levels) < 0.5
    spread = [20 * np.log10(np.sqrt(np.mean(waveform**2))) for (waveform, _), _ in pairs]
    assert max(spread) - min(spread) > 5


def test_voices_differ_less_in_them(pairs):
    """What varies between utterances' mean spectra is mostly the voice."""
    encoder = load_encoder("mfcc", cmvn=False)
    means = [
        np.stack(
            [encoder.encode([torch.from_numpy(pair[i][0])])[0][:, 1:13].mean(0) for pair in pairs]
        )
        for i in (0, 1)
    ]
    spoken, plain = (np.var(mean, axis=0).mean() for mean in means)
    assert plain < 0.5 * spoken


def test_a_plan_is_the_same_but_for_that():
    spoken = plan_task("transcription")
    plain = plan_task("transcription", plain=True)
    assert [item.recording for item in spoken] == [item.recording for item in plain]
    assert all(item.plain for item in plain)


def test_keywords_cannot_be_plain():
    with pytest.raises(ConfigError, match="only sentences can be said plainly"):
        plan_task("keyword_spotting", plain=True)
