"""The microphone as a source of predict, by a library that stands in for sounddevice."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from small_run import sound
from speechprompt.audio.microphone import microphone_blocks
from speechprompt.cli import main
from speechprompt.errors import ConfigError


class PortAudioError(Exception):
    pass


def library(samples, fails=None):
    """A sounddevice whose microphone hears some samples, and is then stopped."""

    class InputStream:
        def __init__(self, samplerate, blocksize, **settings):
            assert (samplerate, settings) == (16000, {"channels": 1, "dtype": "float32"})
            if fails:
                raise PortAudioError(fails)
            self.left = samples[:, None]

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

        def read(self, n):
            if not len(self.left):
                raise KeyboardInterrupt
            block, self.left = self.left[:n], self.left[n:]
            return block, len(self.left) == 0

    return SimpleNamespace(InputStream=InputStream, PortAudioError=PortAudioError)


def test_the_microphone_is_answered_in_windows(run, monkeypatch, capsys):
    samples = np.concatenate([sound(i) for i in range(8)])
    monkeypatch.setitem(sys.modules, "sounddevice", library(samples))
    blocks = microphone_blocks()
    heard = []
    with pytest.raises(KeyboardInterrupt):
        heard.extend(block for block, rate in blocks if rate == 16000)
    words = ["predict", str(run / "results/ks"), "microphone", "--window", "0.5", "--silence", "0"]
    assert main(words) == 130
    said = capsys.readouterr()
    assert "warning: microphone: samples were lost" in said.err
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert lines
    assert {line["file"] for line in lines} == {"microphone"}


def test_what_cannot_be_heard_is_one_line(run, monkeypatch, capsys):
    words = ["predict", str(run / "results/ks"), "microphone"]
    assert main(words) == 1
    expected = "microphone: expected --window, and no recordings but microphone"
    assert expected in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main([*words, "--window", "1"]) == 1
    message = capsys.readouterr().err
    assert "pip install 'speechprompt[microphone]'" in message
    assert message.count("\n") == 1
    monkeypatch.setitem(sys.modules, "sounddevice", library(None, fails="no device"))
    with pytest.raises(ConfigError, match=r"it cannot be opened \(no device\)"):
        next(microphone_blocks())


def test_a_file_of_this_name_is_a_file(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "microphone").write_bytes(b"no audio")
    assert main(["predict", str(run / "results/ks"), "microphone"]) == 1
    assert "not audio that libsndfile reads" in capsys.readouterr().out
