"""What a run shows on the terminal: one line of progress, warnings and errors, and the results."""

import logging
import shutil
import sys
import textwrap
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from speechprompt.runtime.progress import QUIET

__all__ = ["QUIET", "RunDisplay", "earlier_seconds", "results_box"]

BAR = 16
WIDTH = 76  # of the sentences in the box
# Without a terminal a line is written whenever so much more is done.
STEP = 0.1
# Snakemake's messages without an event that a user must see.
SHOWN = ("Nothing to be done", "Report created")


class RunDisplay(logging.Handler):
    """Shows a run on one line, from the messages that Snakemake logs.

    Args:
        stream: where to write; a stream that is no terminal gets a line now and then.
    """

    def __init__(self, stream: TextIO = sys.stderr) -> None:
        super().__init__()
        self.stream, self.is_terminal = stream, stream.isatty()
        self.running: dict[int, str] = {}
        self.seconds: dict[int, float] = {}
        self.started: dict[int, float] = {}
        self.cores = 1
        self.done = self.total = 0
        self.written = -1.0

    def expect(self, seconds: Mapping[int, float], cores: int) -> None:
        """Take the expected seconds of jobs, by number, and how many run at once."""
        self.seconds, self.cores = dict(seconds), max(cores, 1)

    def is_hidden(self, record: logging.LogRecord) -> bool:
        """Whether a message is no warning and no error, and is therefore hidden."""
        return record.levelno < logging.WARNING and not record.getMessage().startswith(SHOWN)

    def emit(self, record: logging.LogRecord) -> None:
        """Take a message of Snakemake's."""
        with suppress(OSError, ValueError):  # a terminal that was closed does not end the run
            self._take(record)

    def finish(self) -> None:
        """Write the last line, so that what follows begins on a line of its own."""
        if self.total and self.is_terminal:
            self._write("\n")

    def _take(self, record: Any) -> None:
        """Take a message; Snakemake gives its records fields by the kind of event."""
        event = getattr(getattr(record, "event", None), "name", "")
        match event:
            case "JOB_INFO":
                names = ", ".join(map(str, dict(record.wildcards).values()))
                self.running[record.jobid] = f"{record.rule_name} {names}".strip()
                self.started[record.jobid] = time.monotonic()
            case "JOB_FINISHED":
                self.running.pop(record.job_id, None)
                self.seconds.pop(record.job_id, None)
            case "JOB_ERROR":
                self.running.pop(record.jobid, None)
                self.seconds.pop(record.jobid, None)
            case "RUN_INFO":
                self.total = max(self.total, (getattr(record, "stats", None) or {}).get("total", 0))
            case "PROGRESS":
                self.done, self.total = record.done, record.total
            case _:
                if not self.is_hidden(record) and self.is_terminal:
                    self._write("\r\x1b[K")  # the message takes the line's place
                return
        if self.total:
            self._show()

    def _show(self) -> None:
        share = self.done / self.total
        if self.is_terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write(f"\r{self.line()[:width]}\x1b[K")
        elif share >= self.written + STEP or (share == 1.0 and self.written < 1.0):
            self.written = share
            self._write(f"{self.line()}\n")

    def line(self) -> str:
        """The line: jobs done, time left, and what runs."""
        full = round(BAR * self.done / self.total)
        parts = [f"{'█' * full}{'░' * (BAR - full)} {self.done} of {self.total} jobs"]
        if left := self.time_left():
            parts.append(left)
        parts += [", ".join(self.running.values())] if self.running else []
        return " · ".join(parts)

    def time_left(self) -> str:
        """How long the other jobs will take, in words; empty where it is not known."""
        unfinished = self.total - self.done
        if not unfinished or len(self.seconds) < 0.9 * unfinished:
            return ""
        now = time.monotonic()
        spent = sum(
            min(now - self.started[number], self.seconds.get(number, 0.0))
            for number in self.running
        )
        left = (sum(self.seconds.values()) - spent) / min(self.cores, unfinished)
        return f"about {left / 60:.0f} min left" if left >= 90 else f"about {left:.0f} s left"

    def _write(self, text: str) -> None:
        self.stream.write(text)
        self.stream.flush()


def earlier_seconds(jobs: Sequence[tuple[int, str]]) -> dict[int, float]:
    """How long jobs took in earlier runs, by their benchmarks.

    Args:
        jobs: number and benchmark file of each job. Where that file is missing, the mean of the
            rule's other benchmarks, which are in the same folder, stands in.

    Returns:
        Seconds by number, without jobs of which nothing is known.
    """
    folders: dict[Path, dict[Path, float]] = {}
    found = {}
    for number, benchmark in jobs:
        path = Path(benchmark)
        known = folders.get(path.parent)
        if known is None:
            known = {file: s for file in path.parent.glob("*.tsv") if (s := _seconds(file)) > 0}
            folders[path.parent] = known
        if known:
            found[number] = known.get(path, sum(known.values()) / len(known))
    return found


def _seconds(benchmark: Path) -> float:
    """The seconds in Snakemake's benchmark, 0 where another version wrote it otherwise."""
    try:
        titles, values, *_ = benchmark.read_text(encoding="utf-8").splitlines()
        return float(dict(zip(titles.split("\t"), values.split("\t"), strict=True))["s"])
    except (OSError, ValueError, KeyError):
        return 0.0


def results_box(folders: Sequence[str], overview: str = "results/overview.html") -> str:
    """The results of finished tasks in a box, and what to do with them.

    Args:
        folders: folders of the tasks.
        overview: the overview; where it is not there, how it is made, and that of one task.
    """
    from speechprompt.evaluation.names import METRICS, TASKS, short_name
    from speechprompt.evaluation.scores import Metrics, judge
    from speechprompt.evaluation.standing import Standing

    lines = []
    for folder in folders:
        metrics = Metrics.read(Path(folder, "metrics.json"))
        row = Standing.of(metrics)
        title = f"{row.task}, {TASKS[row.task]}" if row.task in TASKS else row.task
        n_seeds = f", {row.n_seeds} seeds" if row.n_seeds > 1 else ""
        name = METRICS.get(row.metric, row.metric)
        lines.append(f"{title}: {name} {row.written()}, {row.score.n:,} utterances{n_seeds}")
        if row.baseline and row.floor and row.gain:
            baseline = short_name(row.baseline)
            low, high = (f"{100 * bound:+.2f}" for bound in row.gain.interval)
            gain = f"gain {100 * row.gain.value:+.2f} [{low}, {high}]"
            lines.append(f"  {row.verdict}, {baseline} {100 * row.floor.value:.2f} %: {gain}")
        for sentences in judge(metrics, shown=row.baseline):
            lines += textwrap.wrap(sentences, WIDTH, initial_indent="  ", subsequent_indent="  ")
    lines += _overviews(folders, overview)
    if answering := [folder for folder in folders if Path(folder, "model.json").is_file()]:
        lines.append(f"next:     speechprompt demo {' '.join(answering)}")
    width = max(map(len, lines))
    inside = [f"│ {line.ljust(width)} │" for line in lines]
    return "\n".join([f"╭{'─' * (width + 2)}╮", *inside, f"╰{'─' * (width + 2)}╯"])


def _overviews(folders: Sequence[str], overview: str) -> list[str]:
    """The pages that show the results; where one is missing, how it is made."""
    lines = [f"overview: {overview}"]
    if not Path(overview).is_file():
        lines[0] += " by `snakemake --cores all`, for all tasks"
        for page in (f"{folder}/overview.html" for folder in folders):
            made = page if Path(page).is_file() else f"`snakemake --cores all {page}`"
            lines.append(f"          {made} for this task")
    return lines
