"""docs/notebook.ipynb is executed from its own text, and is stored with what that gives."""

import pytest

nbformat = pytest.importorskip("nbformat")
nbclient = pytest.importorskip("nbclient", reason="needs nbclient and ipykernel (envs/dev.txt)")
pytest.importorskip("ipykernel")

PATH = "docs/notebook.ipynb"


def shown(notebook):
    """What each cell of code shows as text, except for progress."""
    return [
        "".join(
            output.get("text", "") or output.get("data", {}).get("text/plain", "")
            for output in cell.outputs
            if output.get("name") != "stderr"
        ).splitlines()
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_the_notebook_is_small_and_has_been_executed(repository):
    notebook = nbformat.read(repository / PATH, as_version=4)
    nbformat.validate(notebook)
    assert (repository / PATH).stat().st_size < 60_000
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert all(shown(notebook))


@pytest.mark.slow
def test_the_notebook_runs(repository, tmp_path):
    notebook = nbformat.read(repository / PATH, as_version=4)
    stored = shown(notebook)
    place = {"metadata": {"path": tmp_path}}
    nbclient.NotebookClient(notebook, timeout=600, resources=place).execute()  # raises errors
    found = shown(notebook)
    assert len(found) == len(stored) >= 6
    table = [line.split()[1:3] for line in found[1][1:]]
    assert len(table) == 12
    assert sum(said == answered for said, answered in table) >= 10
    assert [line.split(" s: ")[1] for line in found[3]].count("yes") == 1
    words, *rows = (line.split() for line in found[-1])
    assert words == ["lamp", "music", "window"]
    assert sum(answers[1:][i] == words[i] for answers in rows for i in range(3)) >= 12
