"""Folds of a corpus by speaker: what is test in each, and what a table of the same splits gives."""

from collections import Counter

import pyarrow.parquet as pq
import pytest
import soundfile

from small_run import RATE, sound
from speechprompt.corpora.folds import divide_speakers, take_fold
from speechprompt.corpora.manifest import SPLITS, read_root
from speechprompt.corpora.prepare import prepare_csv
from speechprompt.errors import CorpusError

# Utterances of each speaker.
SPEAKERS = {"ann": 3, "bob": 5, "cem": 4, "dee": 4, "eve": 2}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Recordings by five speakers, and a function that prepares them with some splits."""
    folder = tmp_path_factory.mktemp("corpus")
    names = [
        (speaker, f"{speaker}-{i}") for speaker, n in SPEAKERS.items() for i in range(8, 8 + n)
    ]
    for number, (_, name) in enumerate(names):
        soundfile.write(folder / f"{name}.wav", sound(number, 0.2), RATE)

    def prepare(name, split_of, speakers=True):
        lines = ["path,split,label" + ",speaker" * speakers]
        for number, (speaker, path) in enumerate(names):
            row = f"{path}.wav,{split_of(number, speaker)},{number % 2}"
            lines.append(row + f",{speaker}" * speakers)
        table = folder / f"{name}.csv"
        table.write_text("\n".join(lines))
        prepare_csv(table, folder / name, seed=3, valid_fraction=0.2)
        return [folder / name / f"{split}.parquet" for split in SPLITS]

    return prepare


def by_turns(number, speaker):
    return ("train", "test", "valid")[number % 3]


def test_a_fold_is_a_corpus_with_these_speakers_in_test(corpus):
    manifests = corpus("whole", by_turns)
    tested = Counter()
    for fold, speakers in enumerate(divide_speakers(list(Counter(SPEAKERS).elements()), 4), 1):
        out = manifests[0].parent / f"fold-{fold}"
        counts = take_fold(manifests, out, fold=fold, folds=4, seed=3, valid_fraction=0.2)
        by_hand = corpus(f"hand-{fold}", lambda _, who, t=speakers: "test" if who in t else "train")
        found = {split: pq.read_table(out / f"{split}.parquet") for split in SPLITS}
        assert counts == {split: len(table) for split, table in found.items()}
        for split, path in zip(SPLITS, by_hand, strict=True):
            assert found[split].equals(pq.read_table(path)), split
        assert read_root(out / "test.parquet") == manifests[0].parents[1]
        assert set(found["test"]["speaker"].to_pylist()) == speakers
        for split in ("train", "valid"):
            assert not speakers & set(found[split]["speaker"].to_pylist())
        tested.update(found["test"]["utt_id"].to_pylist())
    assert len(tested) == sum(SPEAKERS.values())
    assert set(tested.values()) == {1}


def test_folds_are_about_as_long_and_do_not_depend_on_the_order():
    speakers = list(Counter(SPEAKERS).elements())
    found = divide_speakers(speakers, 3)
    assert found == divide_speakers(speakers[::-1], 3) == [{"ann", "cem"}, {"bob"}, {"dee", "eve"}]
    assert divide_speakers(speakers, 5) == [{name} for name in SPEAKERS]


def test_too_few_speakers_and_unknown_ones_are_refused(corpus, tmp_path):
    manifests = corpus("whole", by_turns)
    with pytest.raises(CorpusError, match=r"whole: expected at least 6 speakers .* found 5 \(ann"):
        take_fold(manifests, tmp_path, fold=1, folds=6, seed=1)
    manifests = corpus("nobody", by_turns, speakers=False)
    with pytest.raises(CorpusError, match=r"nobody: expected the speaker of .* 18 of 18 have"):
        take_fold(manifests, tmp_path, fold=1, folds=2, seed=1)
    assert not list(tmp_path.iterdir())
