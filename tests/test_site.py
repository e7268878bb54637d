"""The documentation as a site: it builds without a warning, and asks no other host for anything."""

import functools
import os
import re
import subprocess
import sys
from http.server import SimpleHTTPRequestHandler

import pytest

from browser import browse
from local_server import QuietHandler, serving

for module in ("mkdocs", "material", "mkdocstrings"):
    pytest.importorskip(module, reason="needs envs/docs.txt (make docs)")

LOADED = re.compile(r"<(?:script|link|img|iframe)\b[^>]*?(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


@pytest.fixture(scope="module")
def site(tmp_path_factory, repository):
    """The site, where each warning is an error."""
    out = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(out)],
        cwd=repository,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_site_has_every_page(site, repository):
    for page in repository.glob("docs/*.md"):
        assert (site / "docs" / f"{page.stem}.html").is_file(), page
    assert "One frozen model, many tasks" in (site / "index.html").read_text()
    api = (site / "docs/api.html").read_text()
    for name in ("load_predictor", "train_prompt", "UnitEncoder.encode", "ConfigError"):
        assert re.search(rf'id="speechprompt\.[\w.]*{name}"', api), name
    assert ":meth:" not in api
    notebook = (site / "docs/notebook.html").read_text()
    assert "A task of your own" in notebook
    assert (site / "docs/notebook-1.png").is_file()
    assert 'href="notebook.html"' in (site / "docs/library.html").read_text()
    assert (site / "configs/sweep.yaml").is_file()  # a page links to it


def test_pages_ask_no_other_host(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > 25
    for page in pages:
        assert not LOADED.findall(page.read_text(encoding="utf-8")), page


def test_pages_in_a_browser(site, tmp_path):
    class Handler(QuietHandler, SimpleHTTPRequestHandler):
        pass

    with serving(functools.partial(Handler, directory=str(site))) as url, browse(tmp_path) as page:
        for width, dark in ((1400, False), (800, True), (390, False)):
            page.look(width, dark=dark)
            for name in ("index.html", "docs/results.html", "docs/api.html", "docs/cluster.html"):
                page.open(f"{url}/{name}")
                assert page.run("document.documentElement.scrollWidth") <= width, (name, width)
                shade = page.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
                assert (int(shade) < 128) == dark, (name, shade)
        field = "const field = document.querySelector('.md-search__input'); field.focus()"
        typed = "field.value = 'verbalizer'; field.dispatchEvent(new Event('keyup'))"
        page.run(f"{field}; {typed}; true")
        page.wait_for("document.querySelectorAll('.md-search-result__item').length > 3")
        assert page.console == []
