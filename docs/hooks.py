"""What MkDocs calls to build the site: pages lie where they lie in the repository.

Links between them, and to files such as configurations, are then the same here and in the
repository. A file that a page links to is part of the site.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
PAGES = ("*.md", "docs/*.md", "docs/*.css", "src/speechprompt/models/shipped/**/*.md")
LINK = re.compile(r"\]\(([^)\s:#]+)[^)\s:]*\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Give headings the anchors that repositories on the web give them."""
    config.mdx_configs["toc"]["slugify"] = _anchor
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Take the pages of the whole repository, and the files that they link to."""
    pages = [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]
    found = [file for file in files if file.src_dir != config.docs_dir]  # the theme
    found += [_file(path.relative_to(ROOT).as_posix(), config) for path in pages]
    linked = {
        posixpath.normpath(posixpath.join(posixpath.dirname(file.src_uri), link))
        for file in found
        if file.is_documentation_page()
        for link in LINK.findall(file.content_string)
    }
    known = {file.src_uri for file in found}
    wanted = sorted(uri for uri in linked - known if (ROOT / uri).is_file())
    return Files([*found, *(_file(uri, config) for uri in wanted)])


def _anchor(title: str, separator: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", separator)


def _file(uri: str, config: MkDocsConfig) -> File:
    return File.generated(config, uri, abs_src_path=str(ROOT / uri))
