"""What MkDocs calls to build the site: pages lie where they lie in the repository.

Links between them, and to files such as configurations, are then the same here and in the
repository. A file that a page links to is part of the site. A notebook is a page of its cells and
of what they showed.
"""

from __future__ import annotations

import json
import posixpath
import re
from base64 import b64decode
from pathlib import Path
from typing import Any

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
    for path in sorted(ROOT.glob("docs/*.ipynb")):
        found += _notebook(path, config)
    linked = {
        posixpath.normpath(posixpath.join(posixpath.dirname(file.src_uri), link))
        for file in found
        if file.is_documentation_page()
        for link in LINK.findall(file.content_string)
    }
    known = {file.src_uri for file in found}
    wanted = sorted(uri for uri in linked - known if (ROOT / uri).is_file())
    return Files([*found, *(_file(uri, config) for uri in wanted)])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to a notebook lead to its page."""
    return markdown.replace(".ipynb)", ".md)")


def _notebook(path: Path, config: MkDocsConfig) -> list[File]:
    """The page of a notebook, and its pictures."""
    uri = path.relative_to(ROOT).with_suffix("").as_posix()
    written, pictures = [], []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            written.append(source)
            continue
        written.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {})
            if picture := data.get("image/png"):
                name = f"{uri}-{len(pictures) + 1}.png"
                pictures.append(File.generated(config, name, content=b64decode(picture)))
                written.append(f"![what the code shows]({posixpath.basename(name)})")
            elif output.get("name") != "stderr":
                shown = "".join(output.get("text", data.get("text/plain", "")))
                written.append(f"```text\n{shown.rstrip()}\n```")
    return [File.generated(config, f"{uri}.md", content="\n\n".join(written)), *pictures]


def _anchor(title: str, separator: str) -> str:
    return re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", separator)


def _file(uri: str, config: MkDocsConfig) -> File:
    return File.generated(config, uri, abs_src_path=str(ROOT / uri))
