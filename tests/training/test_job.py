"""What trainings share around the loop: fingerprints, and when the checkpoint goes."""

import pytest

from speechprompt.config.tasks import TrainingSettings
from speechprompt.training.job import Computation, TrainingFiles, fingerprint
from speechprompt.training.result import TrainingResult

SAME = (TrainingSettings(), Computation(), {"seed": 1}, [[1, 2], [3]])


def test_a_fingerprint_depends_on_all_that_a_training_depends_on():
    others = [
        (TrainingSettings(lr=0.01), *SAME[1:]),
        (SAME[0], Computation(threads=1), *SAME[2:]),
        (*SAME[:2], {"seed": 2}, SAME[3]),
        (*SAME[:3], [[1], [2, 3]]),
    ]
    assert fingerprint(*SAME) == fingerprint(TrainingSettings(), *SAME[1:])
    assert len({fingerprint(*SAME), *(fingerprint(*other) for other in others)}) == 5


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
