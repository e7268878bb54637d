"""Verbs from the corpus to the unit shards."""

from __future__ import annotations

REJECTED = {
    "--max-rejected": {
        "type": float,
        "default": 0.01,
        "metavar": "SHARE",
        "help": "share of unreadable recordings tolerated (default: 0.01)",
    }
}
