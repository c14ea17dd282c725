"""Source text of dispatch functions: nested ifs that find a case by bisection.

Used by csr.py and table.py; knows neither.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Case:
    """What to do when low <= key <= high."""

    low: int
    high: int
    body: tuple[str, ...]


def bisect(key: str, cases: Sequence[Case], otherwise: Sequence[str], indent: int = 1) -> list[str]:
    """Lines that pick the case of `key`; the bodies must return, or be followed by nothing that matters."""
    pad = "    " * indent
    if len(cases) == 1:
        case = cases[0]
        test = f"{key} == {case.low}" if case.low == case.high else f"{key} >= {case.low} and {key} <= {case.high}"
        return [f"{pad}if {test}:", *(f"{pad}    {line}" for line in case.body),
                f"{pad}else:", *(f"{pad}    {line}" for line in otherwise)]
    half = len(cases) // 2
    return [f"{pad}if {key} < {cases[half].low}:", *bisect(key, cases[:half], otherwise, indent + 1),
            f"{pad}else:", *bisect(key, cases[half:], otherwise, indent + 1)]
