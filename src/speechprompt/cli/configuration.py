"""Verbs about the configuration itself."""

from __future__ import annotations

import argparse

from speechprompt.cli.verb import verb
from speechprompt.config import parse_config, read_config
from speechprompt.storage.files import write_text
from speechprompt.workflow.configuration import check_files


@verb(files={"file": "YAML configuration"})
def check_config(a: argparse.Namespace) -> None:
    """Check a configuration and print it with every default filled in."""
    import yaml

    checked = parse_config(read_config(a.file))
    print(yaml.safe_dump(checked.model_dump(mode="json"), sort_keys=False), end="")
    check_files(checked)


@verb(files={"--page": "Markdown page to write", "--schema": "JSON schema to write"})
def write_reference(a: argparse.Namespace) -> None:
    """Write the configuration's reference page and JSON schema."""
    from speechprompt.config.reference import render_page, render_schema

    write_text(a.page, render_page())
    write_text(a.schema, render_schema())
