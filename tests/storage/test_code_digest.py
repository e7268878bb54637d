import tomllib

from pipeline import REPOSITORY
from speechprompt.storage import code_digest as module

SOURCE = '"""Doc."""\nfrom speechprompt import other\n\ndef f(x):\n    """Doc."""\n    return x\n'


def package(tmp_path, monkeypatch, **sources):
    for name, text in sources.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    module._MODULES.clear()
    return module.digest("stage")


def test_comments_docstrings_and_layout_do_not_count(tmp_path, monkeypatch):
    before = package(tmp_path, monkeypatch, stage=SOURCE, other="A = 1\n")
    reworded = SOURCE.replace("Doc", "Other words").replace("return x", "return  x  # why")
    assert package(tmp_path, monkeypatch, stage=reworded) == before
    undocumented = SOURCE.replace('    """Doc."""\n', "")
    assert package(tmp_path, monkeypatch, stage=undocumented) == before


def test_an_edit_counts_here_and_in_what_is_imported(tmp_path, monkeypatch):
    before = package(tmp_path, monkeypatch, stage=SOURCE, other="A = 1\n")
    edited = package(tmp_path, monkeypatch, stage=SOURCE.replace("return x", "return x + 1"))
    assert edited != before
    package(tmp_path, monkeypatch, stage=SOURCE)
    assert package(tmp_path, monkeypatch, other="A = 2\n") != before


def test_an_edit_elsewhere_does_not_count(tmp_path, monkeypatch):
    before = package(tmp_path, monkeypatch, stage=SOURCE, other="A = 1\n", later="B = 1\n")
    assert package(tmp_path, monkeypatch, later="B = 2\n") == before


def test_imports_inside_functions_count(tmp_path, monkeypatch):
    lazy = "def f():\n    from speechprompt.other import A\n    return A\n"
    before = package(tmp_path, monkeypatch, stage=lazy, other="A = 1\n")
    assert package(tmp_path, monkeypatch, other="A = 2\n") != before


def test_an_edit_of_a_modules_data_counts(tmp_path, monkeypatch):
    before = package(tmp_path, monkeypatch, stage=SOURCE, other="A = 1\n")
    data = tmp_path / "data"
    data.mkdir()
    (data / "other.yaml").write_text("words: a, b\n")
    (data / "stage.html").write_text("<html>")
    found = package(tmp_path, monkeypatch)
    assert found != before
    (data / "other.yaml").write_text("words: a, c\n")
    edited = package(tmp_path, monkeypatch)
    assert edited not in (found, before)
    (data / "stage.html").write_text("<html><p>")
    assert package(tmp_path, monkeypatch) not in (edited, found, before)


def test_data_of_other_modules_does_not_count(tmp_path, monkeypatch):
    before = package(tmp_path, monkeypatch, stage=SOURCE, other="A = 1\n", later="B = 1\n")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "later.yaml").write_text("words: a\n")
    (tmp_path / "data" / "stages.yaml").write_text("words: a\n")
    assert package(tmp_path, monkeypatch) == before


def test_every_data_file_belongs_to_a_module_and_is_installed():
    declared = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["setuptools"]
    files = [path for path in module.PACKAGE.rglob("data/*") if path.is_file()]
    assert len(files) >= 5
    for path in files:
        assert path.parents[1].joinpath(f"{path.name.partition('.')[0]}.py").is_file(), path
        package = ".".join(path.parents[1].relative_to(module.PACKAGE.parent).parts)
        assert f"data/*{path.suffix}" in declared["package-data"][package], path
