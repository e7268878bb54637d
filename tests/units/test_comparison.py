import numpy as np
import pytest

from speechprompt.cli import main
from speechprompt.errors import ArtefactError
from speechprompt.units.comparison import compare_units
from speechprompt.units.unit_files import UnitsMetadata, gather_units, write_units


def write(path, lines):
    path.write_text("".join(f"{name}|{' '.join(map(str, units))}\n" for name, units in lines))
    return path


def parquet(folder, rows):
    part = folder / "part-00000-of-00001.parquet"
    names, units = zip(*rows, strict=True)
    about = UnitsMetadata("k", "0" * 64, 100, dedup=True)
    columns = {"utt_id": list(names), "units": [np.array(row) for row in units]}
    write_units(part, columns, label_columns=[], metadata=about)
    return part


def test_agreement_error_rate_and_first_differences(tmp_path):
    ours = write(tmp_path / "a", [("x/1.wav", [1, 2, 3]), ("x/2.wav", [4, 5, 6, 7]), ("y", [1])])
    theirs = write(tmp_path / "b", [("x/1.wav", [1, 2, 3]), ("x/2.wav", [4, 9, 6])])
    found = compare_units(ours, theirs)
    assert (found.n_ours, found.n_reference, found.n_compared, found.n_equal) == (3, 2, 2, 1)
    assert (found.n_edits, found.n_units) == (2, 6)
    assert found.unit_error_rate == pytest.approx(1 / 3)
    assert [(d.utt_id, d.position) for d in found.differences] == [("x/2.wav", 1)]


def test_names_match_by_their_common_ending(tmp_path):
    part = parquet(tmp_path, [("yes/a_0", [1, 2]), ("no/a_0", [3, 4])])
    index = tmp_path / "index.json"
    gather_units([part], index, corpus="c", split="valid")
    lines = [("v0.01/yes/a_0.wav", [1, 2]), ("v0.01/no/a_0.wav", [3, 5])]
    published = write(tmp_path / "published.txt", [(n, u) for n, u in lines])
    for ours in (part, index):
        found = compare_units(ours, published)
        assert (found.n_compared, found.n_equal) == (2, 1)


def test_a_dot_in_a_name_begins_no_ending(tmp_path):
    first, second = ("u.1", [1, 2, 3]), ("u.2", [7, 8, 9, 10])
    both = write(tmp_path / "both", [first, second])
    found = compare_units(both, both)
    assert (found.n_compared, found.n_equal) == (2, 2)
    with pytest.raises(ArtefactError, match=r"no utterance in common; .* 'u\.1' and 'u\.2'"):
        compare_units(write(tmp_path / "a", [first]), write(tmp_path / "b", [second]))


def test_the_same_name_goes_before_the_same_ending(tmp_path):
    ours = [("a.wav", [1]), ("a.flac", [2]), ("b.WAV", [3]), ("c", [4]), ("x/d.mp3", [5])]
    theirs = [("c.ogg", [4]), ("a.wav", [1]), ("a.mp3", [7]), ("b.m4a", [3]), ("y/d.mp3", [5])]
    found = compare_units(write(tmp_path / "a", ours), write(tmp_path / "b", theirs))
    assert (found.n_compared, found.n_equal) == (3, 3)  # a.wav, b and c


def test_labels_after_the_units_are_passed_over(tmp_path):
    (tmp_path / "b").write_text("a.wav|1 2 3|7 8\n")
    assert compare_units(write(tmp_path / "a", [("a.wav", [1, 2, 3])]), tmp_path / "b").n_equal == 1


def test_units_that_were_not_deduplicated_are_told(tmp_path):
    ours = write(tmp_path / "a", [("a", [1, 1, 2])])
    assert (
        "only ours has repeated units"
        in compare_units(ours, write(tmp_path / "b", [("a", [1, 2])])).hints[0]
    )


@pytest.mark.parametrize("text", ["no bar", "a|1 x 3", "", "a|1\na|2"])
def test_what_holds_no_units_is_refused(tmp_path, text):
    (tmp_path / "bad").write_text(text)
    with pytest.raises(ArtefactError, match=r"bad"):
        compare_units(write(tmp_path / "a", [("a", [1])]), tmp_path / "bad")


def test_the_published_units_agree_with_themselves(shared_data, capsys):
    path = shared_data / "units/speech_commands/valid.txt"
    assert main(["compare-units", str(path), str(path)]) == 0
    shown = capsys.readouterr().out
    names = {line.split("|")[0] for line in path.read_text().splitlines()}
    assert f"{len(names)} compared" in shown
    assert "(100.00 %)" in shown
    assert "unit error rate: 0.00 %" in shown
