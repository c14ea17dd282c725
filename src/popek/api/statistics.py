"""What a run cost and why its guest stopped, as one record for people and programs (`--stats`, `--json`).

Lives here: sums over harts, shares, and the times of the host. Not here: the counters (vmm, engines), printing (faces).
What each field means and how it is measured: docs/stats.md.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from popek.api.machine import Machine

#: Causes that are counted once more under a wider one, if that is there: an SBI call is an ecall, and so on.
WITHIN = {
    "sbi_call": ("ecall_supervisor",), "host_device": ("device",), "simulated_instruction": ("illegal_instruction",),
    "wait_for_interrupt": ("simulated_instruction", "sbi_call"),  # but for a guest with firmware of its own
}  # fmt: skip
MONITOR = "simulated_instruction"  # the cause whose instructions the monitor retires itself
SECONDS = "_seconds"  # how counters end that are times
SHOWN_ELSEWHERE = ("region_instructions", "long_way_instructions", "milliseconds")


class Clock(NamedTuple):
    """Seconds: of the wall, and of this process and its children that have ended."""

    wall: float
    user: float
    system: float

    @staticmethod
    def now() -> Clock:
        """The present readings."""
        t = os.times()
        return Clock(time.monotonic(), t.user + t.children_user, t.system + t.children_system)


class Measure:
    """One run, from before its machine is made: `start` when it is, `summary` when it has ended."""

    def __init__(self) -> None:
        self.made = self.began = Clock.now()

    def start(self, machine: Machine) -> None:
        """The machine is ready and about to start."""
        machine.measure()
        self.began = Clock.now()

    def summary(self, machine: Machine) -> dict[str, Any]:
        """What it cost. Ends the machine."""
        machine.end()
        ended = Clock.now()
        seconds = {name: after - before for name, after, before in zip(Clock._fields, ended, self.began, strict=True)}
        seconds["starting"] = self.began.wall - self.made.wall
        return summary(machine.stats(), machine.counters(), machine.cached(), seconds)


def summary(
    statistics: dict[str, Any], counters: dict[str, Any], cached: dict[str, Any], seconds: dict[str, float]
) -> dict[str, Any]:
    """What all harts did together.

    `statistics`, `counters`, `cached`: of the Machine's methods; `seconds`: from its start to its end.
    """
    stops: dict[str, int] = {}
    for hart in statistics["harts"]:
        for cause, count in hart["stops"].items():
            stops[cause] = stops.get(cause, 0) + count
    retired = sum(hart["instructions"] for hart in statistics["harts"])
    stopped = sum(count for cause, count in stops.items() if stops.keys().isdisjoint(WITHIN.get(cause, ())))
    seconds = {**seconds, "harts": statistics["seconds"]}
    seconds |= {name.removesuffix(SECONDS): value for name, value in counters.items() if name.endswith(SECONDS)}
    wall = seconds["wall"]
    made = {
        "engine": statistics["engine"],
        "instructions": retired,
        "mips": retired / wall / 1e6 if wall > 0 else 0.0,
        "undisturbed": max(1 - stopped / retired, 0.0) if retired else 0.0,
        "seconds": _rounded(seconds),
        "engines": engines(statistics["engine"], retired, stops.get(MONITOR, 0), seconds, counters),
        "stopped": stopped,
        "stops": dict(sorted(stops.items(), key=lambda row: -row[1])),
        "harts": statistics["harts"],
    }
    plain = {n: v for n, v in counters.items() if not n.endswith(SECONDS) and not n.startswith(SHOWN_ELSEWHERE)}
    more = {"checked": statistics["checked"], "cache": cached, "counters": plain}
    return made | {name: value for name, value in more.items() if value}


def engines(
    engine: str, retired: int, simulated: int, seconds: dict[str, float], counters: dict[str, Any]
) -> dict[str, dict[str, float]]:
    """Who retired the instructions, and the time it took; no time where none was measured.

    What is not translation is divided by the samples: they say how often a hart came out of a region.
    """
    monitor = _part(simulated, None)
    if "long_way_instructions" not in counters:
        return {engine: _part(retired - simulated, seconds["harts"]), "monitor": monitor}
    inside, long_way = counters["region_instructions"], counters["long_way_instructions"]
    outside = retired - simulated - inside - long_way
    running: float | None = max(seconds["harts"] - seconds["translating"] - seconds["installing"], 0.0)
    found = {}
    if "milliseconds" in counters:
        samples = counters["milliseconds"]
        if not samples and inside:
            running = None
        share = counters["milliseconds_in_regions"] / samples if samples else 0.0
        found["regions"] = _part(inside, running and running * share)
        running = running and running * (1 - share)
    found["templates"] = _part(outside, running)
    return {**found, "long_way": _part(long_way, None), "monitor": monitor}


def _part(instructions: int, seconds: float | None) -> dict[str, float]:
    measured = {} if seconds is None else _rounded({"seconds": seconds})
    return {"instructions": instructions, **measured}


def _rounded(values: dict[str, float]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in values.items()}
