"""The command line: a verb runs the function of a stage, and its options are the parameters.

``verbs`` lists all verbs. The next room is ``workflow``, whose rules call them.
"""

import argparse
import io
import os
import shutil
import sys
import textwrap
import traceback
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from speechprompt import __version__
from speechprompt.cli.verb import Verb
from speechprompt.cli.verbs import VERBS
from speechprompt.errors import ConfigErrors, SpeechPromptError, nearest
from speechprompt.runtime.progress import log, log_to
from speechprompt.storage.text import printable

__all__ = ["build_parser", "main"]

# Among so many values the right one is found without help.
SEEN_AT_ONCE = 4


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
    parser = build_parser()
    parsed = parser.parse_args(arguments)
    if parsed.verb is None:
        parser.print_help()
        return 0
    if parsed.log:
        log_to(parsed.log)
    try:
        return VERBS[parsed.verb].run(parsed)
    except SpeechPromptError as error:
        log(
            f"speechprompt {parsed.verb}: {error}",
            lines=isinstance(error, ConfigErrors),
            urgent=True,
        )
        return 1
    except KeyboardInterrupt:
        log(f"speechprompt {parsed.verb}: interrupted", urgent=True)
        return 130
    except BrokenPipeError:
        # A reader such as `head` has closed the pipe; Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        # What no stage expects: a folder without permission, a full disk behind standard output.
        log(f"speechprompt {parsed.verb}: {error}", urgent=True)
        return 1
    except Exception:
        log(traceback.format_exc(), lines=True, urgent=True)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all verbs."""
    parser = _MainParser(
        prog="speechprompt",
        description="Prompt tuning of a frozen generative spoken language model. Snakemake calls "
        "most of these verbs; each works by hand too: speechprompt VERB --help.",
    )
    parser.add_argument("--version", action="version", version=f"speechprompt {__version__}")
    parser.add_argument("--log", type=Path, metavar="FILE", help="write messages to a file too")
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", parser_class=_VerbParser)
    for verb in VERBS.values():
        added = verbs.add_parser(
            verb.name, help=verb.summary, description=verb.summary, allow_abbrev=False
        )
        added.declared = verb
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose messages show control characters as escapes, and what is like a wrong word."""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Refuse a value that is none of the choices; argparse would list sixty verbs."""
        if action.choices is None or value in action.choices:
            return
        choices = list(map(str, action.choices))
        is_verb = isinstance(action, argparse._SubParsersAction)
        known = "`speechprompt` lists all" if is_verb else f"expected {', '.join(choices)}"
        what = "no such verb" if is_verb else "no such value"
        close = nearest(str(value), choices) if len(choices) > SEEN_AT_ONCE else ""
        raise argparse.ArgumentError(action, f"{what}: {value!r}{close or ';'} {known}")

    def _print_message(self, message: str, file: Any = None) -> None:
        super()._print_message(printable(message, lines=True), file)


class _MainParser(_Parser):
    """The parser before the verb, whose help has the verbs in groups."""

    def format_help(self) -> str:
        """Usage, description, options and all verbs."""
        formatter = self._get_formatter()
        formatter.add_usage(self.usage, self._actions, self._mutually_exclusive_groups)
        formatter.add_text(self.description)
        formatter.start_section("options")
        formatter.add_arguments(self._optionals._group_actions)
        formatter.end_section()
        return f"{formatter.format_help()}\n{_list_verbs()}"


def _list_verbs() -> str:
    """All verbs with their summaries, under the titles of their groups."""
    widest = max(map(len, VERBS))
    wrapper = textwrap.TextWrapper(
        max(60, shutil.get_terminal_size().columns),
        initial_indent="  ",
        subsequent_indent=" " * (widest + 4),
        break_on_hyphens=False,
    )
    lines, group = [], ""
    for verb in VERBS.values():
        if verb.group != group:
            lines += ["", f"{verb.group}:"] if group else [f"{verb.group}:"]
            group = verb.group
        lines += wrapper.wrap(f"{verb.name:{widest}}  {verb.summary}")
    return "\n".join(lines) + "\n"


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
        args = list(sys.argv[1:] if args is None else args)
        self._refuse_unknown_options(args)
        self._intermixed = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._intermixed = False

    def _refuse_unknown_options(self, words: Sequence[str]) -> None:
        """Say which option was meant, before argparse misses what the wrong one was to give."""
        for word in words[: words.index("--") if "--" in words else None]:
            name = word.partition("=")[0]
            # As argparse does, a word with a blank is taken for a value.
            if not name.startswith("--") or " " in word or name in self._option_string_actions:
                continue
            if name in ("--log", "--version"):
                self.error(f"{name} stands before the verb: speechprompt {name} …")
            close = nearest(name, self._option_string_actions)
            self.error(f"no such option: {name}{close or '; --help lists all'}")
