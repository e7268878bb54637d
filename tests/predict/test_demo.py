"""The demo: its server, and its page in a real browser with a microphone that plays a file."""

from __future__ import annotations

import http.client
import io
import json
import shutil
import threading
from contextlib import contextmanager

import numpy as np
import pyarrow as pa
import pytest
import soundfile

from browser import browse
from small_run import sound
from speechprompt.config.tasks import DecodingSettings
from speechprompt.errors import ConfigError
from speechprompt.evaluation.predictions import write_predictions
from speechprompt.predict.demo import Demo, DemoServer, demo, find_tests
from speechprompt.predict.predictor import Predictor
from speechprompt.predict.task_folder import describe_model
from speechprompt.storage.files import read_json, write_json
from speechprompt.storage.parquet import write_parquet

TONE = 440  # Hz


@contextmanager
def served(found):
    with DemoServer(found) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def tasks(run, tmp_path_factory):
    """Two tasks, and a recording of a test split."""
    path = tmp_path_factory.mktemp("heard") / "yes.wav"
    soundfile.write(path, sound(1), 16000)
    predictor = Predictor.load(run / "results/ks", run / "results/asr", device="cpu")
    return Demo(predictor, [("yes <b>", path)])


@pytest.fixture(scope="module")
def server(tasks):
    with served(tasks) as server:
        yield server


def ask(server, method, path, body=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content, response.headers


def wav(samples, rate=16000, **form):
    stream = io.BytesIO()
    soundfile.write(stream, samples, rate, format="WAV", **form)
    return stream.getvalue()


def test_a_recording_is_answered_by_all_tasks_as_predict_does(server, tasks, tmp_path):
    content = wav(sound(3))
    (tmp_path / "a.wav").write_bytes(content)
    status, body, _ = ask(server, "POST", "/answer", content)
    found = json.loads(body)
    assert status == 200
    expected = tasks.predictor.predict(tmp_path / "a.wav")
    assert [one["task"] for one in found["answers"]] == ["ks", "asr"]
    for ours, theirs in zip(found["answers"], expected, strict=True):
        assert ours["answer"] == theirs.answer
        assert ours["probability"] == pytest.approx(theirs.probability)
    assert found["seconds"] == pytest.approx(0.4)
    ends = [left + width for left, width, *_ in found["boxes"]]
    assert ends == sorted(ends)
    assert found["outline"].startswith("M0 ")


def test_what_is_no_audio_has_a_reason(server):
    status, body, _ = ask(server, "POST", "/answer", b"no audio at all")
    assert status == 200
    assert json.loads(body).keys() == {"error"}
    status, body, _ = ask(server, "POST", "/answer", b"")
    assert json.loads(body).keys() == {"error"}


def test_the_page_and_its_files_are_served(server):
    status, body, headers = ask(server, "GET", "/")
    assert status == 200
    assert b"yes &lt;b&gt;" in body
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    for path in ("/demo.css", "/demo.js", "/recorder.js"):
        assert ask(server, "GET", path)[0] == 200
    status, body, headers = ask(server, "GET", "/recordings/0")
    assert (status, headers["Content-Type"].split("/")[0]) == (200, "audio")
    assert len(soundfile.read(io.BytesIO(body))[0]) > 0


@pytest.mark.parametrize(
    "path",
    [
        *("/recordings/1", "/recordings/-1", "/recordings/x", "/recordings/", "/../etc/passwd"),
        f"/recordings/{'0' * 9}1",
        f"/recordings/{'0' * 5000}",
    ],
)
def test_nothing_else_is_served(server, path):
    assert ask(server, "GET", path)[0] == 404
    assert ask(server, "POST", path, b"")[0] == 404


def test_a_recording_that_is_gone_is_not_found(tasks, tmp_path):
    with served(Demo(tasks.predictor, [("gone", tmp_path / "gone.wav")])) as server:
        assert ask(server, "GET", "/recordings/0")[0] == 404


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Host": "evil.example:{port}"},
        {"Host": "127.0.0.1"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
)
def test_other_hosts_and_origins_are_refused(server, headers):
    headers = {name: text.format(port=server.server_port) for name, text in headers.items()}
    assert ask(server, "GET", "/", **headers)[0] == 403
    assert ask(server, "POST", "/answer", wav(sound(1)), **headers)[0] == 403


def test_the_own_origin_is_taken(server):
    for host in ("127.0.0.1", "localhost"):
        own = f"{host}:{server.server_port}"
        headers = {"Host": own, "Origin": f"http://{own}", "Sec-Fetch-Site": "same-origin"}
        assert ask(server, "POST", "/answer", wav(sound(1)), **headers)[0] == 200


def test_a_body_must_say_how_long_it_is_and_be_no_longer_than_a_recording(server):
    assert (
        ask(server, "POST", "/answer", iter([b"a"]), **{"Transfer-Encoding": "chunked"})[0] == 411
    )
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=60)
    connection.putrequest("POST", "/answer")
    connection.putheader("Content-Length", "99999999999")
    connection.endheaders()
    assert connection.getresponse().status == 413
    connection.close()


def test_the_server_listens_on_the_loopback_address_only(server):
    assert server.server_address[0] == "127.0.0.1"


def test_a_port_that_is_taken_is_an_error(server, run):
    with pytest.raises(ConfigError, match=f"port {server.server_port} .*--port"):
        demo([run / "results/ks"], port=server.server_port)
    with pytest.raises(ConfigError, match="--port"):
        demo([run / "results/ks"], port=99999)


def test_recordings_of_the_tasks_own_corpus_are_found(copied):
    results = copied / "results"
    folder = results / "ks"
    names = [f"u{i}" for i in range(5)]
    rows = {"utt_id": names, "reference": list("abcde"), "prediction": list("abcde")}
    rows |= {"score": np.zeros(5), "is_repeat": [False] * 5}
    about = {"task_type": "classification", "columns": ["label"], "method": "prompt"}
    write_predictions(folder / "predictions.parquet", {"test": rows}, **about)
    for corpus in ("another", "own"):  # with the same names
        table = pa.table({"utt_id": names, "path": [f"{name}.wav" for name in names]})
        write_parquet(
            results / f"manifests/{corpus}/test.parquet",
            table.replace_schema_metadata({"root": f"../../../{corpus}"}),
        )
    assert find_tests([folder]) == []  # its model.json does not say which
    described = read_json(folder / "model.json")
    describe_model(
        folder / "model.json",
        task="ks",
        prompt=folder / "prompt.safetensors",
        unit_lm=results / "lm/tiny/model.safetensors",
        codebook=results / "codebooks/tiny.safetensors",
        encoder=described["encoder"]["settings"],
        decoding=DecodingSettings(**described["decoding"]),
        corpus="own",
    )
    found = find_tests([folder], n=3)
    assert len(found) == 3
    for reference, path in found:
        assert path == copied / f"own/u{'abcde'.index(reference)}.wav"
    assert find_tests([copied]) == []
    shutil.move(results / "manifests", copied / "elsewhere")
    assert find_tests([folder]) == []


def test_recordings_of_a_corpus_that_was_changed_since_are_not_shown(copied):
    folder = copied / "results/ks"
    rows = {"utt_id": ["u0"], "reference": ["a"], "prediction": ["a"], "score": np.zeros(1)}
    about = {"task_type": "classification", "columns": ["label"], "method": "prompt"}
    splits = {"test": rows | {"is_repeat": [False]}}
    write_predictions(folder / "predictions.parquet", splits, **about)
    manifest = copied / "results/manifests/own/test.parquet"
    write_json(folder / "model.json", read_json(folder / "model.json") | {"corpus": "own"})
    for utt_id, expected in (("u0", 1), ("u1", 0)):
        table = pa.table({"utt_id": [utt_id], "path": ["a.wav"]})
        write_parquet(manifest, table.replace_schema_metadata({"root": "."}))
        assert len(find_tests([folder])) == expected


@pytest.fixture
def page(server, tmp_path):
    """The page in a browser whose microphone plays a tone."""
    time = np.arange(4 * 48000) / 48000
    soundfile.write(tmp_path / "tone.wav", 0.5 * np.sin(2 * np.pi * TONE * time), 48000)
    flags = (
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={tmp_path / 'tone.wav'}",
        "--autoplay-policy=no-user-gesture-required",
    )
    with browse(tmp_path, *flags) as page:
        page.open(f"http://127.0.0.1:{server.server_port}/")
        yield page
        assert page.console == []


SHOWN = "!document.querySelector('#result').hidden"


@pytest.mark.slow
def test_what_the_microphone_hears_is_answered(page, tasks, monkeypatch):
    heard = []
    answer = tasks.answer
    monkeypatch.setattr(tasks, "answer", lambda content: heard.append(content) or answer(content))
    page.run("document.querySelector('#record').click()")
    page.wait_for("parseFloat(document.querySelector('#status').textContent.slice(11)) > 1")
    page.run("document.querySelector('#record').click()")
    page.wait_for(SHOWN)
    assert page.run("document.querySelectorAll('.answer strong').length") == 2
    assert page.run("document.querySelectorAll('.units rect').length") > 0
    samples, rate = soundfile.read(io.BytesIO(heard[0]))
    assert len(samples) / rate > 1
    loudest = np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples)
    assert abs(loudest - TONE) < 5
    # It can be listened to, and the cursor follows.
    assert page.run("document.querySelector('audio').play().then(() => true)")
    page.wait_for("parseFloat(document.querySelector('#cursor').style.left) > 10")


@pytest.mark.slow
def test_files_are_dropped_and_test_files_are_clicked(page):
    page.run("document.querySelector('#files button').click()")
    page.wait_for(SHOWN)
    assert "yes <b>" in page.run("document.querySelector('#status').textContent")
    page.run(
        """(() => {
            const files = new DataTransfer();
            files.items.add(new File(["no audio"], "bad.wav"));
            const event = new DragEvent("drop", { dataTransfer: files, cancelable: true });
            document.querySelector("#drop").dispatchEvent(event);
        })()"""
    )
    page.wait_for("document.querySelector('#status.wrong')?.textContent.startsWith('bad.wav: ')")
    assert not page.run(SHOWN)
