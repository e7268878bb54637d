"""The command line: a verb runs the function of a stage, and its options are the parameters.

``verbs`` lists all verbs. The next room is ``workflow``, whose rules call them.
"""

import argparse
import io
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from speechprompt import __version__
from speechprompt.cli.verb import Verb
from speechprompt.cli.verbs import VERBS
from speechprompt.errors import ConfigErrors, SpeechPromptError
from speechprompt.runtime.progress import log, log_to
from speechprompt.storage.text import printable

__all__ = ["build_parser", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb.

    Returns:
        The exit status: 0 for success, 1 for a wrong input, 2 for a wrong command line.
    """
    for stream in (sys.stdout, sys.stderr):
        # Names of files need not be text; what is none is shown, and JSON's strings, escaped.
        if isinstance(stream, io.TextIOWrapper):
            with suppress(OSError):  # a stream that was replaced below Python's feet
                stream.reconfigure(errors="backslashreplace")
    parsed = build_parser().parse_args(arguments)
    if parsed.log:
        log_to(parsed.log)
    try:
        return VERBS[parsed.verb].run(parsed)
    except SpeechPromptError as error:
        log(f"speechprompt {parsed.verb}: {error}", lines=isinstance(error, ConfigErrors))
        return 1
    except KeyboardInterrupt:
        log(f"speechprompt {parsed.verb}: interrupted")
        return 130
    except BrokenPipeError:
        # A reader such as `head` has closed the pipe; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # What no stage expects: a folder without permission, a full disk behind standard output.
        log(f"speechprompt {parsed.verb}: {error}")
        return 1
    except Exception:
        log(traceback.format_exc(), lines=True)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs, in the order data flows."""
    parser = _Parser(
        prog="speechprompt",
        description="Prompt tuning of a frozen generative spoken language model. Snakemake calls "
        "these verbs in order; each works by hand too: speechprompt VERB --help.",
    )
    parser.add_argument("--version", action="version", version=f"speechprompt {__version__}")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write messages to a file too")
    verbs = parser.add_subparsers(
        dest="verb", required=True, metavar="VERB", parser_class=_VerbParser
    )
    for verb in VERBS.values():
        added = verbs.add_parser(
            verb.name, help=verb.summary, description=verb.summary, allow_abbrev=False
        )
        added.declared = verb
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose messages show control characters of arguments as escapes."""

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message, lines=True), file)


class _VerbParser(_Parser):
    """A verb's parser. It reads the verb's options when it is used, and takes mixed arguments."""

    declared: Verb | None = None
    _intermixed = False

    def parse_known_args(
        self, args: Iterable[str] | None = None, namespace: Any = None
    ) -> tuple[Any, list[str]]:
        """Parse positional arguments between and after options too."""
        if self.declared is not None:
            self.declared.add_options(self)
            self.declared = None
        if self._intermixed:
            return super().parse_known_args(args, namespace)
        self._intermixed = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False
