"""What trainings share around the loop: fingerprints, and when the checkpoint goes."""

import shutil

import pytest

from speechprompt.config.tasks import TrainingSettings
from speechprompt.storage import code_digest
from speechprompt.training.job import Computation, TrainingFiles, fingerprint
from speechprompt.training.loop import fit
from speechprompt.training.result import TrainingResult
from speechprompt.training.splits import hold_out

SAME = (fit, TrainingSettings(), Computation(), {"seed": 1}, [[1, 2], [3]])


def test_a_fingerprint_depends_on_all_that_a_training_depends_on():
    others = [
        (hold_out, *SAME[1:]),
        (fit, TrainingSettings(lr=0.01), *SAME[2:]),
        (*SAME[:2], Computation(threads=1), *SAME[3:]),
        (*SAME[:3], {"seed": 2}, SAME[4]),
        (*SAME[:4], [[1], [2, 3]]),
        (*SAME, ["encoders.mfcc"]),
    ]
    assert fingerprint(*SAME) == fingerprint(fit, TrainingSettings(), *SAME[2:])
    assert len({fingerprint(*SAME), *(fingerprint(*other) for other in others)}) == 7


def test_an_edit_of_what_a_training_reaches_gives_another_fingerprint(tmp_path, monkeypatch):
    copy = tmp_path / "speechprompt"
    shutil.copytree(code_digest.PACKAGE, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    monkeypatch.setattr(code_digest, "PACKAGE", copy)
    found = []
    for edit in ("", "\n# A comment.\n", "\nCHANGED = 1\n"):
        with (copy / "training/schedule.py").open("a") as file:
            file.write(edit)
        monkeypatch.setattr(code_digest, "_MODULES", {})
        found.append(fingerprint(*SAME))
    assert found[0] == found[1] != found[2]


def test_the_checkpoint_stays_until_the_model_is_written(tmp_path):
    files = TrainingFiles(tmp_path / "model", tmp_path / "curve", tmp_path / "checkpoint")
    files.checkpoint.touch()
    result = TrainingResult(1, 1, 1, 0.5, 1.0, 10, [])

    def fail(path):
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        files.finish(result, fail)
    assert files.checkpoint.exists()
    files.finish(result, lambda path: path.touch())
    assert files.model.exists()
    assert files.curve.exists()
    assert not files.checkpoint.exists()
