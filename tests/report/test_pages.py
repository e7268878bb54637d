"""The overview and Snakemake's report in a real browser, on a machine without a network."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest

from browser import QUIET, browse, find_chromium
from pipeline import snakemake
from speechprompt.errors import ArtefactError
from speechprompt.report.overview import open_with_overview

pytestmark = pytest.mark.slow

OWN = "not an origin"  # who asks where the browser itself does


@pytest.fixture(scope="module")
def chromium():
    """The command of a Chromium."""
    return find_chromium()


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """A finished run with its overview and its report."""
    folder = tmp_path_factory.mktemp("pages") / "run"
    shutil.copytree(finished, folder)
    snakemake(folder, "--cores", "2")
    snakemake(folder, "--report", "report.html")
    open_with_overview(folder / "report.html", "results/overview.html")
    return folder


def opened(chromium, page, folder):
    """The page's document after its scripts ran, what the console says, and addresses it asks."""
    profile, traffic = folder / "profile", folder / "traffic.json"
    done = subprocess.run(
        [
            *(chromium, *QUIET, f"--user-data-dir={profile}", "--window-size=1200,900"),
            *("--host-resolver-rules=MAP * ~NOTFOUND", f"--log-net-log={traffic}"),
            *("--enable-logging=stderr", "--virtual-time-budget=10000", "--dump-dom"),
            page.resolve().as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    console = [line for line in done.stderr.splitlines() if ":CONSOLE:" in line]
    events = [event.get("params", {}) for event in json.loads(traffic.read_text())["events"]]
    # The browser itself tries to reach its maker.
    of_page = [event for event in events if event.get("initiator", OWN) != OWN]
    asked = {event["url"] for event in of_page if re.match("(http|ws)s?:", event.get("url", ""))}
    return done.stdout, console, asked


def test_errors_and_requests_would_be_seen(chromium, tmp_path):
    """That the checks below can fail."""
    page = tmp_path / "page.html"
    page.write_text('<script>undefined_name()</script><img src="https://example.org/a.png">')
    _, console, asked = opened(chromium, page, tmp_path)
    assert "undefined_name" in "".join(console)
    assert asked == {"https://example.org/a.png"}


@pytest.mark.parametrize(
    ("page", "shown"),
    [("results/overview.html", "learning curve"), ("report.html", "Results")],
)
def test_pages_need_no_network_and_report_no_error(chromium, run, tmp_path, page, shown):
    document, console, asked = opened(chromium, run / page, tmp_path)
    assert shown in document
    assert console == []
    assert asked == set()


def test_the_report_opens_with_the_overview(run, tmp_path):
    with browse(tmp_path) as page:
        page.open((run / "report.html").resolve().as_uri())
        shown = "document.querySelector('iframe')?.src.slice(0, 14)"
        assert page.wait_for(shown) == "data:text/html"
    (tmp_path / "report.html").write_text('{"results/other.html": {}}</body>')
    with pytest.raises(ArtefactError, match=r"report.html: .*it has no results/overview.html"):
        open_with_overview(tmp_path / "report.html", "results/overview.html")


@pytest.fixture
def page(run, tmp_path):
    """The overview in a browser."""
    with browse(tmp_path) as page:
        page.open((run / "results/overview.html").resolve().as_uri())
        yield page
        assert page.console == []


def test_the_first_screen_has_every_task_with_its_verdict(page):
    for width, height in ((1400, 900), (390, 844)):
        page.look(width, height)
        assert page.run("document.querySelectorAll('.tasks .verdict').length") == 1
        # There is room for the four tasks of config.yaml.
        place = "document.querySelector('.tasks tbody tr').getBoundingClientRect()"
        assert page.run(f"{place}.top + 4 * {place}.height") < height
        assert page.run("document.documentElement.scrollWidth") <= width


def test_audio_plays_and_the_cursor_follows_it(page):
    page.run("document.querySelector('.listen').open = true")
    assert page.run("document.querySelector('.utterance audio').play().then(() => true)")
    cursor = "parseFloat(document.querySelector('.utterance .cursor').style.left)"
    assert page.wait_for(f"{cursor} > 20 && {cursor}") <= 100


def test_a_click_on_a_confusion_shows_its_utterances(page):
    clicked = page.run(
        """(() => {
            const one = document.querySelector('.utterance[data-right=wrong]').dataset;
            const cell = [...document.querySelectorAll('.matrix td[data-n]')].find((c) =>
                c.dataset.reference === one.reference && c.dataset.answer === one.prediction);
            cell.click();
            return [one.reference, one.prediction];
        })()"""
    )
    visible = "[...document.querySelectorAll('.utterance')].filter(u => u.offsetParent)"
    shown = page.run(f"{visible}.map(u => [u.dataset.reference, u.dataset.prediction])")
    assert shown
    assert all(pair == clicked for pair in shown)
    page.run("document.querySelector('.filters button').click()")
    assert page.run(f"{visible}.length") == 30
    choose = "const s = document.querySelector('select[name=right]'); s.value = 'right';"
    page.run(f"{{{choose} s.dispatchEvent(new Event('change'))}}")
    right = page.run(f"{visible}.map(u => u.dataset.right)")
    assert set(right) == {"right"}


def test_without_scripts_the_page_has_table_pictures_and_audio(run, tmp_path):
    with browse(tmp_path) as page:
        page("Emulation.setScriptExecutionDisabled", value=True)
        page.open((run / "results/overview.html").resolve().as_uri())
        root = page("DOM.getDocument")["root"]["nodeId"]
        shown = (".tasks .verdict", "figure img", ".utterance audio[controls]", ".matrix td")
        for selector in shown:
            assert page("DOM.querySelectorAll", nodeId=root, selector=selector)["nodeIds"], selector
        table = page("DOM.querySelector", nodeId=root, selector=".tasks")["nodeId"]
        assert page("DOM.getBoxModel", nodeId=table)["model"]["height"] > 50
