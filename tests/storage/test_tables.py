from speechprompt.storage.tables import align_columns, markdown_table


def test_a_markdown_table_has_a_line_per_row():
    table = markdown_table(["name", "n"], [["a", "1"], ["bc", "20"]])
    assert table == "| name | n |\n| --- | --- |\n| a | 1 |\n| bc | 20 |\n"


def test_columns_are_as_wide_as_their_longest_cell():
    assert align_columns([["name", "n", ""], ["a", "100", "x"]]) == ["name  n", "a     100  x"]
    assert align_columns([]) == []


def test_widths_may_be_given():
    assert align_columns([["a", "b"], ["cde", "f"]], [2, 1]) == ["a   b", "cde  f"]
