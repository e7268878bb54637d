"""Data folders of Kaldi: segments, commands and labels; kaldiio reads the same samples."""

import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile
from foreign import SPLITS, prepare

from small_run import RATE
from speechprompt.audio.reading import read_audio
from speechprompt.config.corpora import KaldiCorpus
from speechprompt.corpora.registry import listing_of
from speechprompt.errors import CorpusError


def write_folder(folder, **files):
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return str(folder)


def kaldi_of(talks, **changes):
    """A data folder for each split; the files of train can be changed."""
    folders = {}
    for i, split in enumerate(SPLITS):
        files = {
            "wav_scp": f"r{i} talk{i}.wav\n",
            "segments": f"b-{i} r{i} 2.5 4 1\na-{i} r{i} 0.00 1.25 0\n",
            "text": f"a-{i} HELLO  WORLD\nb-{i}\n",
            "utt2spk": f"a-{i} ann\nb-{i}\tbob\n",
            "utt2lang": f"a-{i} en\nb-{i} de\n",
            "utt2dur": f"a-{i} 1.25\nb-{i} 1.5\n",
        }
        files |= changes if split == "train" else {}
        folders[split] = write_folder(talks / split, **files)
    return KaldiCorpus(**folders, root=str(talks))


def test_segments_of_kaldi(talks):
    corpus = kaldi_of(talks)
    assert prepare(corpus, talks) == {"train": 2, "valid": 2, "test": 2}
    first, second = pq.read_table(talks / ".m/train.parquet").to_pylist()
    assert first == {
        "utt_id": "b-0",
        "path": "talk0.wav#t=2.5,4&channel=1",
        "n_samples": 24_000,
        "sample_rate": RATE,
        "speaker": "bob",
        "text": "",
        "lang": "de",
    }
    assert second["text"] == "HELLO  WORLD"
    assert listing_of(corpus).label_columns_of(corpus) == ["text", "lang", "speaker"]
    assert listing_of(corpus).recording_files(corpus) == [f"talk{i}.wav" for i in range(3)]


def test_kaldiio_reads_the_same_samples(talks):
    kaldiio = pytest.importorskip("kaldiio")
    for i in range(3):  # kaldiio takes recordings of one channel here
        mono = soundfile.read(talks / f"talk{i}.wav", dtype="int16")[0][:, 0]
        soundfile.write(talks / f"talk{i}.wav", mono, RATE)
    corpus = kaldi_of(
        talks,
        wav_scp=f"r0 {talks}/talk0.wav\n",
        segments="a-0 r0 0 1.25\nb-0 r0 2.5 -1\n",
    )
    for i, split in ((1, "valid"), (2, "test")):
        (talks / split / "segments").write_text(f"a-{i} r{i} 0 1\nb-{i} r{i} 1 2\n")
    prepare(corpus, talks)
    rows = pq.read_table(talks / ".m/train.parquet").to_pylist()
    train = talks / "train"
    with kaldiio.ReadHelper(f"scp:{train}/wav.scp", segments=str(train / "segments")) as reader:
        theirs = {name: samples for name, (_, samples) in reader}
    for row in rows:
        ours = read_audio(talks / row["path"]) * 32768
        assert abs(len(ours) - len(theirs[row["utt_id"]])) <= 1  # they round times down
        n = min(len(ours), len(theirs[row["utt_id"]])) - 1
        np.testing.assert_array_equal(ours[1:n], theirs[row["utt_id"]][1:n])


def test_commands_run_where_they_are_trusted(talks):
    corpus = kaldi_of(talks, wav_scp="r0 cat talk0.wav | cat |\n")
    with pytest.raises(CorpusError, match=r"wav\.scp, line 1: 'r0' is the output of a command"):
        prepare(corpus, talks)
    trusted = corpus.model_copy(update={"trust": True})
    with pytest.raises(CorpusError, match=r"line 1: 'r0' is the output of a command"):
        prepare(trusted, talks)
    assert listing_of(trusted).recording_files(trusted) == ["talk1.wav", "talk2.wav"]
    made = talks / "run/made"
    assert prepare(trusted, talks, made=made)["train"] == 2
    assert (made / "train/r0.wav").read_bytes() == (talks / "talk0.wav").read_bytes()
    path = pq.read_table(talks / ".m/train.parquet")["path"][0].as_py()
    assert path == f"{made}/train/r0.wav#t=2.5,4&channel=1"


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("cat nowhere.wav", "status 1 and 0 bytes .*nowhere"),
        ("exit 3 | cat", r"status 3 and 0 bytes \(no message\)"),
        ("true", "status 0 and 0 bytes"),
    ],
)
def test_commands_that_fail(talks, command, said):
    corpus = kaldi_of(talks, wav_scp=f"r0 {command} |\n").model_copy(update={"trust": True})
    with pytest.raises(CorpusError, match=rf"wav\.scp, line 1: the command ended with {said}"):
        prepare(corpus, talks, made=talks / "made")
    assert not list((talks / "made").rglob("*.wav"))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"wav_scp": ""}, r"wav\.scp: expected recordings, found no line"),
        ({"wav_scp": "r0\n"}, r"wav\.scp, line 1: expected the file of 'r0', found nothing"),
        ({"wav_scp": "r0 a.ark:12\n"}, r"wav\.scp, line 1: a\.ark:12 is in an archive"),
        ({"wav_scp": "r0 a\nr0 b\n"}, r"wav\.scp, line 2: 'r0' is there before, in line 1"),
        ({"segments": "a-0 r9 0 1\n"}, r"segments, line 1: no recording 'r9' in wav\.scp"),
        ({"segments": "a-0 r0 0\n"}, "segments, line 1: expected utterance, .* found 3 words"),
        ({"segments": "a-0 r0 2 1\n"}, "segments, line 1: expected an end after the start 2"),
        ({"segments": "a-0 r0 0 1 A\n"}, "segments, line 1: expected a channel from 0, found 'A'"),
        ({"text": "a-0 X\n"}, "text: no line for utterance 'b-0'"),
        ({"utt2spk": "a-0 X\nc-0 Y\n"}, "utt2spk, line 2: no utterance 'c-0'"),
        ({"utt2units": "a-0 X\n"}, "utt2units: a label column cannot be named 'units'"),
    ],
)
def test_wrong_folders_of_kaldi(talks, files, message):
    with pytest.raises(CorpusError, match=message):
        prepare(kaldi_of(talks, **files), talks)


def test_a_folder_of_kaldi_that_is_not_there(talks):
    corpus = kaldi_of(talks)
    shutil.rmtree(talks / "valid")
    with pytest.raises(CorpusError, match=r"valid/wav\.scp: cannot be read"):
        prepare(corpus, talks)
