"""Compare this package with other implementations: ``python -m benchmarks`` (``make bench``)."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.cases import HUBERT, MODELS, Case, Effort, list_cases, packages_missing
from benchmarks.levels import compare
from benchmarks.machine import describe_machine, has_bf16
from benchmarks.table import markdown
from speechprompt.errors import ConfigError
from speechprompt.runtime.precision import Precision
from speechprompt.storage.files import write_json, write_text

_FULL = Effort(seconds=3.0, repetitions=2, passes=6)
_QUICK = Effort(seconds=1.5, repetitions=1, passes=3)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write ``bench.json`` and ``bench.md``; 1 if something failed."""
    options = _parser().parse_args(arguments)
    try:
        machine = describe_machine(options.threads, options.device)
    except ConfigError as error:
        _log(str(error))
        return 2
    precisions: list[Precision] = ["fp32", "bf16"] if has_bf16(machine) else ["fp32"]
    if len(precisions) == 1:
        _log("bf16 is left out: this processor has no bf16 instructions")
    listed = list(list_cases(options.quick, precisions, options.device))
    chosen = [case for case in listed if options.only in case.name]
    if not chosen:
        _log(f"--only {options.only}: no such measurement; names are such as")
        _log("\n".join(case.name for case in listed))
        return 2
    cases = _without_missing(chosen)
    effort = _QUICK if options.quick else _FULL
    begin = time.monotonic()
    names = sorted({case.peak for case in cases if case.peak is not None})
    peaks = {name: _peak(name, options) for name in names}
    rows = []
    with tempfile.TemporaryDirectory(prefix="speechprompt-bench-") as folder:
        paths = _write_models({case.model for case in cases}, Path(folder))
        for number, case in enumerate(cases, 1):
            rows.append(_measured(case, effort, paths[case.model], options))
            _log(f"{number}/{len(cases)} {case.name}: {_told(rows[-1])}")
    # The machine's speed may have changed meanwhile. The higher peak is the stricter comparison.
    for name, peak in peaks.items():
        peaks[name] = max(peak, _peak(name, options), key=_gflops)
    rows = compare(rows, machine, peaks)
    report = markdown(rows, machine, peaks)
    units, audio = (Path(o).name if o else "synthetic" for o in (options.units, options.audio))
    out = Path(options.out)
    write_json(
        out / "bench.json",
        {
            "machine": machine,
            "matrix_peak": peaks,
            "units": units,
            "audio": audio,
            "quick": options.quick,
            "effort": asdict(effort),
            "seconds": round(time.monotonic() - begin, 1),
            "measurements": rows,
        },
    )
    write_text(out / "bench.md", report)
    print(report)
    _log(f"{time.monotonic() - begin:.0f} s; written to {out}/bench.json and {out}/bench.md")
    return int(any("error" in row for row in rows))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer cases and repetitions")
    parser.add_argument("--threads", type=int, default=2, help="numeric threads (default 2)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="default cpu")
    parser.add_argument("--only", default="", metavar="NAME", help="cases whose name has this part")
    parser.add_argument("--units", metavar="FILE", help="real lines `u1 … un <s> label`")
    parser.add_argument("--audio", metavar="FOLDER", help="real recordings to encode")
    parser.add_argument("--out", default="runs/bench", metavar="FOLDER", help="for the results")
    return parser


def _without_missing(cases: list[Case]) -> list[Case]:
    """The cases of implementations that are installed."""
    missing = {case.contender: packages_missing(case.contender) for case in cases}
    for contender, packages in missing.items():
        if packages:
            _log(f"{contender} is left out: {', '.join(packages)} is not installed")
    return [case for case in cases if not missing[case.contender]]


def _write_models(names: set[str], folder: Path) -> dict[str, str]:
    """Write models with random weights to files, as the pipeline does."""
    import torch

    from benchmarks.encoders import write_hubert
    from speechprompt.lm import Dictionary, UnitLM, save_lm

    paths = {name: str(folder / f"{name}.safetensors") for name in sorted(names)}
    for name, path in paths.items():
        if name == HUBERT:
            write_hubert(path)
            continue
        torch.manual_seed(1)
        config = MODELS[name]
        save_lm(path, UnitLM(config), Dictionary(range(config.n_symbols - 4)), "none")
    return paths


def _measured(case: Case, effort: Effort, path: str, options: argparse.Namespace) -> dict[str, Any]:
    units, audio = (str(Path(o).resolve()) if o else None for o in (options.units, options.audio))
    job: dict[str, Any] = {"case": asdict(case), "effort": asdict(effort), "model_path": path}
    job |= {"units_file": units, "audio_folder": audio}
    try:
        return _in_process(job | {"threads": options.threads, "device": options.device})
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines()
        killed = error.returncode < 0 or not lines
        told = f"exit status {error.returncode}" if killed else lines[-1]
        return {**asdict(case), "error": told}


def _peak(name: str, options: argparse.Namespace) -> dict[str, Any]:
    precision, _, laid_out = name.partition(" ")
    seconds = 0.2 if options.quick else 0.6
    job = {"peak": precision, "laid_out": bool(laid_out), "seconds": seconds}
    return _in_process(job | {"threads": options.threads, "device": options.device})


def _gflops(peak: dict[str, Any]) -> float:
    return peak["gflops"]


def _in_process(job: dict[str, Any]) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure", json.dumps(job)],
        cwd=Path(__file__).parents[1],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _told(row: dict[str, Any]) -> str:
    if "error" in row:
        return f"failed, {row['error']}"
    return f"{row['utterances_per_second']:.4g} utt/s, {row['peak_bytes'] / 1e6:.0f} MB"


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
