"""What the verbs that prepare a corpus have in common."""

from __future__ import annotations

from speechprompt.runtime.progress import log

__all__ = ["REJECTED", "report"]

REJECTED = {
    "--max-rejected": {
        "type": float,
        "default": 0.01,
        "metavar": "SHARE",
        "help": "share of unreadable recordings tolerated (default: 0.01)",
    }
}


def report(counts: dict[str, int]) -> None:
    """Log the utterances of each split."""
    log(", ".join(f"{name}: {count}" for name, count in counts.items()))
