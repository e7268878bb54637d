from speechprompt.storage import code_digest as module

SOURCE = '"""Doc."""\nfrom speechprompt import other\n\ndef f(x):\n    """Doc."""\n    return x\n'


def package(tmp_path, monkeypatch, **sources):
    for name, text in sources.items():
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    module._parse.cache_clear()
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
