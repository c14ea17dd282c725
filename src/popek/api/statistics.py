"""What a run cost and why its guest stopped, as one record for people and programs (`--stats`, `--json`).

Lives here: sums over harts, shares, and the times of the host. Not here: the counters (vmm, engines), printing (faces).
"""

from __future__ import annotations

import os
import time
from typing import Any, NamedTuple

#: Causes that are counted once more under a wider one: an SBI call is an ecall, and so on.
WITHIN = {"sbi_call": "ecall_supervisor", "host_device": "device", "simulated_instruction": "illegal_instruction"}


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


def summary(statistics: dict[str, Any], counters: dict[str, Any], began: Clock) -> dict[str, Any]:
    """What all harts did together.

    `statistics`: of Machine.stats; `counters`: of its engines; `began`: when the machine was about to start. Times are
    seconds; time per engine is where samples found the harts, a sample standing for the time since the one before.
    """
    stops: dict[str, int] = {}
    for hart in statistics["harts"]:
        for cause, count in hart["stops"].items():
            stops[cause] = stops.get(cause, 0) + count
    retired = sum(hart["instructions"] for hart in statistics["harts"])
    stops_once = sum(count for cause, count in stops.items() if WITHIN.get(cause) not in stops)
    now = Clock.now()
    wall = now.wall - began.wall
    seconds: dict[str, float] = {
        "wall": wall,
        "user": now.user - began.user,
        "system": now.system - began.system,
    }
    if "milliseconds" in counters:
        inside = counters["milliseconds_in_regions"] / 1000
        seconds["in_template_code"] = counters["milliseconds"] / 1000 - inside
        seconds["in_regions"] = inside
        seconds["compiling"] = counters["compile_seconds"]
    return {
        "engine": statistics["engine"],
        "instructions": retired,
        "mips": retired / wall / 1e6 if wall > 0 else 0.0,
        "undisturbed": max(1 - stops_once / retired, 0.0) if retired else 0.0,
        "seconds": {name: round(value, 4) for name, value in seconds.items()},
        "stops": dict(sorted(stops.items(), key=lambda row: -row[1])),
        "counters": {n: v for n, v in counters.items() if not n.startswith("milliseconds") and n != "compile_seconds"},
        "harts": statistics["harts"],
    }
