"""The overview and Snakemake's report in a real browser, on a machine without a network."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess

import pytest

from pipeline import snakemake

pytestmark = pytest.mark.slow

OWN = "not an origin"  # who asks where the browser itself does
# A remark of the style sheets that Snakemake builds in, about how it does so; no error.
REMARK = "cdn.tailwindcss.com should not be used in production"
QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-sync", "--disable-quic"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
)


@pytest.fixture(scope="module")
def chromium():
    """The command of a Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if path := shutil.which(name):
            return path
    absent = os.environ.get("SPEECHPROMPT_NO_CHROMIUM") or "install the package chromium"
    pytest.skip(f"no Chromium on this machine: {absent}")


@pytest.fixture(scope="module")
def run(finished, tmp_path_factory):
    """A finished run with its overview and its report."""
    folder = tmp_path_factory.mktemp("pages") / "run"
    shutil.copytree(finished, folder)
    snakemake(folder, "--cores", "2")
    snakemake(folder, "--report", "report.html")
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
    return done.stdout, [line for line in console if REMARK not in line], asked


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
