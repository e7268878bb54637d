"""Inject faults, count what became of them, and fail on any that is not answered well."""

import argparse
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path

from faults.tiny import Tiny, import_everything, make
from faults.trial import CLEAN, FAILED, OUTCOMES, SAME, Case, Verdict
from speechprompt.storage.tables import align_columns

__all__ = ["KINDS", "inject", "main"]

KINDS = ("kill", "rot", "disk", "shell", "tables", "audio", "download", "concurrency")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign and print the counts; 1 if a fault was not answered well."""
    options = _parser().parse_args(arguments)
    begin = time.monotonic()
    import_everything()
    counts = {kind: Counter[str]() for kind in options.kinds}
    with tempfile.TemporaryDirectory(prefix="speechprompt-faults-") as folder:
        run = make(Path(folder, "run"))
        for kind, case, verdict in inject(run, options.kinds, options.every):
            counts[kind][verdict.outcome] += 1
            if verdict.outcome in FAILED or options.verbose:
                print(f"{verdict.outcome}: {kind}: {case.name}", flush=True)
                print(_indented(verdict.said), flush=True)
    print(_table(counts))
    failed = sum(count[outcome] for count in counts.values() for outcome in FAILED)
    injected = sum(count.total() for count in counts.values())
    print(f"{injected} faults in {time.monotonic() - begin:.0f} s, {failed} not answered well")
    return int(failed > 0)


def inject(run: Tiny, kinds: Sequence[str], every: int = 1) -> Iterator[tuple[str, Case, Verdict]]:
    """Inject the faults of some kinds, or every n-th of each.

    Yields:
        The kind, the fault and what became of it.
    """
    for kind in kinds:
        cases = list(import_module(f"faults.{kind}").faults(run))
        for case in cases[::every]:
            with tempfile.TemporaryDirectory(prefix="speechprompt-fault-") as place:
                yield kind, case, case.trial(Path(place, "run"))


def _table(counts: dict[str, Counter[str]]) -> str:
    titles = ["kind", "injected", CLEAN, SAME, *FAILED]
    rows = [
        [kind, str(count.total()), *(str(count[outcome]) for outcome in OUTCOMES)]
        for kind, count in counts.items()
    ]
    return "\n".join(align_columns([titles, *rows]))


def _indented(said: str) -> str:
    return "\n".join(f"    {line}" for line in said.strip().splitlines()[-12:])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    parser.add_argument(
        "--kinds", nargs="+", choices=KINDS, default=KINDS, help="kinds of faults (default: all)"
    )
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="inject every N-th fault of a kind only"
    )
    parser.add_argument("--verbose", action="store_true", help="print every fault and its answer")
    return parser


if __name__ == "__main__":
    sys.exit(main())
