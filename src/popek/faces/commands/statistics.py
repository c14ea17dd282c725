"""`--stats`, `--json`, `--stats-out` of `popek boot` and `popek run`: what a run cost, for people and for programs.

Not here: what the numbers mean (docs/stats.md) and where they come from (api/statistics).
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, TextIO

Rows = list[tuple[str, str]]


class Report:
    """Where the statistics of a run go. Made before it, so that a file that cannot be written is told before."""

    def __init__(self, chosen: argparse.Namespace) -> None:
        """Raises OSError."""
        self._json: bool = chosen.json
        self._table: bool = chosen.stats and not chosen.json
        self._file: TextIO | None = None
        if chosen.stats_out:
            self._file = open(chosen.stats_out, "w", encoding="utf-8")
        self._taken: dict[str, Any] = {}

    @property
    def wanted(self) -> bool:
        """Is anything to be measured?"""
        return self._json or self._table or self._file is not None

    def take(self, statistics: dict[str, Any]) -> None:
        """As api/statistics made them."""
        self._taken = statistics

    def show(self) -> None:
        """Once the terminal is what it was: text on stderr, JSON on stderr as its last line, JSON to the file."""
        if self._file is None and not self._json:
            if self._table:
                _print(self._taken)
            return
        import json

        text = json.dumps(self._taken)
        if self._file is not None:
            with self._file as file:
                file.write(text + "\n")
        if self._json:
            print(text, file=sys.stderr)
        elif self._table:
            _print(self._taken)


def _print(statistics: dict[str, Any]) -> None:
    for heading, rows in _groups(statistics):
        if heading and rows:
            print(heading, file=sys.stderr)
        for name, value in rows:
            indented = "  " * bool(heading) + name.replace("_", " ")
            print(f"{indented:42} {value:>18}", file=sys.stderr)


def _groups(statistics: dict[str, Any]) -> list[tuple[str, Rows]]:
    engine = statistics["engine"]
    if "checked" in statistics:
        engine += f", checked by {statistics['checked']}"
    head = [
        ("engine", engine),
        ("instructions retired", f"{statistics['instructions']:,}"),
        ("million instructions a second", f"{statistics['mips']:,.0f}"),
        ("share that ran with no intervention", f"{statistics['undisturbed']:.4%}"),
    ]
    instructions, seconds = [], [(name, f"{value:.3f}") for name, value in statistics["seconds"].items()]
    for name, part in statistics["engines"].items():
        instructions.append((name, f"{part['instructions']:,}"))
        if "seconds" in part:
            seconds.append((f"harts in {name}", f"{part['seconds']:.3f}"))
    stops = [("all", f"{statistics['stopped']:,}"), *_counts(statistics["stops"])]
    return [
        ("", head),
        ("seconds", seconds),
        ("instructions", instructions),
        ("cache of compiled code", _cache(statistics.get("cache", {}))),
        ("engines", _counts(statistics.get("counters", {}))),
        ("stops", stops),
    ]


def _cache(cached: dict[str, Any]) -> Rows:
    builds = [(name, "there" if there else "made") for name, there in cached.get("builds", {}).items()]
    return builds + [(f"regions {name}", f"{count:,}") for name, count in cached.get("regions", {}).items()]


def _counts(counts: dict[str, int]) -> Rows:
    return [(name, f"{count:,}") for name, count in counts.items()]
