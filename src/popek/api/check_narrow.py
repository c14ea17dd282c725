"""What is done when two engines differ: both go back to the last moment at which all was equal, and replay the log.

Lives here: finding the first comparison that fails, then the first poll point, then the instructions up to there. The
first side replays with its translated code still there, but looks up at every poll point. Not here: what is said then
(check_report).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from popek.api import check_report
from popek.api.check_side import fields
from popek.base.errors import PopekError
from popek.vmm.lockstep import NO_EVENT

if TYPE_CHECKING:
    from popek.api.check import CheckedCore

TRACE = 4000  # instructions between two poll points that are traced at most


@dataclass
class Finding:
    """How and where two engines differ."""

    names: tuple[str, str]
    how: str  # what was found, before anything was narrowed
    narrowed: bool  # the difference came again, at a poll point
    since: int = 0  # instructions retired at the last moment known to be equal
    instret: int = 0  # and when they differed (as the second says)
    registers: list[tuple[str, int, int]] = field(default_factory=list)
    memory: list[tuple[int, bytes, bytes]] = field(default_factory=list)  # guest-physical address, both bytes
    trace: list[tuple[int, int]] = field(default_factory=list)  # pc and word of instructions up to there
    state: tuple[bytes, bytes] = (b"", b"")
    instructions: int = 0  # compared in all


class Difference(PopekError):
    """Two engines differ."""

    def __init__(self, found: Finding) -> None:
        super().__init__(check_report.headline(found))
        self.found = found
        self.details = check_report.report(found)


class Narrower:
    """Both sides of a machine, from its last equal moment to where they differ."""

    def __init__(self, core: CheckedCore) -> None:
        self.core = core
        self.first, self.second = core.first, core.second
        self.stops = list(core.stops)
        self.words = core.memories.words() if self.first.position == self.second.position else []

    def differ(self) -> bool:
        """Do they now?"""
        a, b, memories = self.first, self.second, self.core.memories
        if a.log.wrong or b.log.wrong or a.state() != b.state():
            return True
        return any(memories.first.view[at : at + 8] != memories.second.view[at : at + 8] for at in self.words)

    def run(self, count: int) -> None:
        """Both sides through the first `count` events."""
        for side in (self.first, self.second):
            side.log.count = count
            side.run()

    def failing_stop(self) -> int | None:
        """The number of the first comparison that fails when it is all done again."""
        self.core.go_back()
        for number, count in enumerate(self.stops):
            self.run(count)
            if self.differ():
                return number
        return None

    def back_to(self, number: int, position: int = -1) -> None:
        """To comparison `number` - 1, from there poll point by poll point, up to a position."""
        self.core.go_back()
        for count in self.stops[:number]:
            self.run(count)
        for side in (self.first, self.second):
            side.log.count, side.log.every = self.stops[number], 1
            while side.position < position and not side.log.wrong:
                side.run()

    def failing_poll_point(self, number: int) -> tuple[int, int] | None:
        """Between comparisons: the last position at which they are equal, and the first one where they are not."""
        self.back_to(number)
        end = self.core._events[self.stops[number] - 1][2]
        before = self.second.position
        while self.second.position < end:
            self.first.run()
            self.second.run()
            if self.differ():
                return before, self.second.position
            before = self.second.position
        return None

    def trace(self, number: int, before: int, after: int) -> list[tuple[int, int]]:
        """The instructions of the second side from one position to another one: pc, word (0: not even fetched)."""
        self.back_to(number, before)
        side = self.second
        found: list[tuple[int, int]] = []
        while len(found) < TRACE and side.position < after:
            pc = side.pc
            side.one()
            found.append((pc, int(side.log.word)))
            if side.log.wrong:
                break
        return found


def compare(found: Finding, narrower: Narrower) -> None:
    """Write down what differs now."""
    a, b, memories = narrower.first, narrower.second, narrower.core.memories
    found.state = a.state(), b.state()
    found.registers = different(*found.state)
    found.instret = b.instret
    base = narrower.core._ram_base
    found.memory = [(base + at, bytes(memories.first.view[at : at + 8]), bytes(memories.second.view[at : at + 8]))
                    for at in narrower.words]  # fmt: skip
    found.memory = [row for row in found.memory if row[1] != row[2]]


def different(first: bytes, second: bytes) -> list[tuple[str, int, int]]:
    """Names of registers in which two states differ, and both values."""
    rows = []
    a, b = fields(first), fields(second)
    for name in a:
        if isinstance(a[name], int):
            if a[name] != b[name]:
                rows.append((name, a[name], b[name]))
        else:
            rows += [(f"{name}{i}", x, y) for i, (x, y) in enumerate(zip(a[name], b[name], strict=True)) if x != y]
    return rows


def find(core: CheckedCore) -> Finding:
    """Both sides have come to a comparison and differ: go back, and find where it began."""
    narrower = Narrower(core)
    names = core.first.name, core.second.name
    found = Finding(names, how(core), False, core.base_instret, instructions=core.base_instret)
    compare(found, narrower)
    core.first.log.mode = core.second.log.mode
    number = narrower.failing_stop()
    if number is None:
        return found
    compare(found, narrower)
    found.how = how(core)
    end = narrower.second.instret
    place = narrower.failing_poll_point(number)
    if place is None:
        found.instret = end
        return found
    compare(found, narrower)
    found.narrowed, found.how = True, how(core)
    found.trace = narrower.trace(number, *place)
    found.since = found.instret - len(found.trace)
    return found


def how(core: CheckedCore) -> str:
    """What shows the difference, if it is not registers or memory: what one side did and the other did not."""
    for side in (core.first, core.second):
        log = side.log
        if log.wrong:
            did = check_report.event(log.met_kind & 0xFFFF, log.met_kind >> 32, log.met_address, log.met_value)
            other = "nothing more"
            if log.wrong != NO_EVENT and log.index < log.count:
                kind, size, _, address, value = core._events[log.index]
                other = check_report.event(kind, size, address, value)
            return check_report.wrong(log.wrong, side.name, core.first.name, did, other, log.met_pc)
    return ""
