"""A task's score on recordings that are made worse."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.image import imread

from small_run import record
from speechprompt import load_predictor
from speechprompt.audio.degradation import CONDITIONS
from speechprompt.errors import CorpusError
from speechprompt.predict.answer import Answer
from speechprompt.predict.predictor import Predictor
from speechprompt.predict.robustness import measure_robustness
from speechprompt.report.robustness import plot_robustness


@pytest.fixture(scope="module")
def manifest(run):
    """Recordings whose references are the answers of ``ks``, but for the first."""
    files = record(run / "spoken", 9)
    answers = [a.answer for a in load_predictor(run / "results/ks").predict(files)]
    answers[0] = "no" if answers[0] == "yes" else "yes"
    columns = {"utt_id": [f.stem for f in files], "path": [f.name for f in files]}
    table = pa.table(columns | {"label": answers}).replace_schema_metadata({"root": "."})
    pq.write_table(table, run / "spoken/test.parquet")
    return run / "spoken/test.parquet"


def test_the_score_as_recorded_is_that_of_the_answers(run, manifest, tmp_path):
    out = tmp_path / "robustness.parquet"
    table = measure_robustness(run / "results/ks", manifest, out)
    assert pq.read_table(out).equals(table)
    rows = table.to_pylist()
    assert [(r["kind"], r["step"]) for r in rows] == [(c.kind, c.step) for c in CONDITIONS]
    assert rows[0]["value"] == pytest.approx(8 / 9)
    assert all(row["metric"] == "acc" and row["n"] == 9 for row in rows)
    assert min(row["value"] for row in rows) < rows[0]["value"]
    assert measure_robustness(run / "results/ks", manifest, tmp_path / "again.parquet") == table

    plot_robustness(out, tmp_path / "robustness.png", "ks")
    height, width, _ = imread(tmp_path / "robustness.png").shape
    assert height > width


def test_few_utterances_are_drawn(run, manifest, tmp_path):
    table = measure_robustness(
        run / "results/ks", manifest, tmp_path / "few.parquet", utterances=4, seed=2
    )
    assert set(table["n"].to_pylist()) == {4}
    for wrong in (10, 0, -3):
        with pytest.raises(CorpusError, match=f"utterances: expected 1 to the .*, found {wrong}"):
            measure_robustness(
                run / "results/ks", manifest, tmp_path / "x.parquet", utterances=wrong
            )


def test_a_recording_without_an_answer_counts_as_wrong(run, manifest, tmp_path, monkeypatch):
    answer = Predictor.answer

    def failing(self, names, recordings):
        found = answer(self, names, recordings)
        return [found[0], Answer(names[1], "ks", error="too long"), *found[2:]]

    monkeypatch.setattr(Predictor, "answer", failing)
    table = measure_robustness(run / "results/ks", manifest, tmp_path / "t.parquet")
    assert table["unanswered"].to_pylist() == [1] * len(CONDITIONS)
    assert table["value"][0].as_py() == pytest.approx(7 / 9)
