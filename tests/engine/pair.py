"""One program on two engines: the reference, which is the oracle, and the template engine.

Lives here: setting both to the same state, running to the same poll point, comparing everything a program could see,
and making a differing program small.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from popek.isa import table
from popek.isa.hart import Hart, reset
from tests.engine import desk, scaffold
from tests.engine.desk import Desk
from tests.engine.native import NativeMachine
from tests.engine.scaffold import RAM, Program
from tests.isa.machine import Machine

PRIVATE = {"board", "vm", "tlb", "scratch", "engine", "walk_level", "trap_cause", "trap_tval", "poll", "hartid"}
FIELDS = [name for name in Hart.fields if name not in PRIVATE]
ARRAYS = {name for name in FIELDS if hasattr(Hart.fields[name], "count") or name in ("x", "f", "pmpcfg", "pmpaddr")}
SCALARS = [name for name in FIELDS if name not in ARRAYS]
DESK_FIELDS = ("finished", "polls", "reads", "trace")
STEPS = 40_000  # a program that runs longer is cut there


class Pair:
    """A reference machine and a native one."""

    def __init__(self) -> None:
        self.reference = Machine(1, scaffold.SIZE, desk.PORTS)
        self.desk = Desk()
        self.reference.hart.vm = self.desk
        self.native = NativeMachine(1, scaffold.SIZE)
        self.trace: list[tuple[int, int]] | None = None
        self.image = b""
        self.steps = 0
        self.stop_showed = 0  # an interrupt was taken earlier because of a stop

    def load(self, program: Program) -> None:
        """Both at the program's start."""
        self.image = program.image()
        h, n = self.reference.hart, self.native.hart
        self.reference.memory[:] = self.image
        self.native.memory[:] = self.image
        for hart in (h, n):
            for name in SCALARS:
                setattr(hart, name, 0)
            for name in ARRAYS:
                array = getattr(hart, name)
                for i in range(len(array)):
                    array[i] = 0
            hart.poll = 0
        reset(h)
        self.native._prepare(self.native.address)
        n.pmpcfg[0] = n.pmpaddr[0] = n.pmp_used = 0
        for hart in (h, n):
            for name, value in program.state.items():
                array = name.rstrip("0123456789")
                if array in ARRAYS and array != name:
                    getattr(hart, array)[int(name[len(array):])] = value
                else:
                    setattr(hart, name, value)
        for d in (self.desk, self.native.desk):
            d.finished = d.polls = d.limit = d.reads = d.trace = 0
        self.native.forget()
        self.native.age(program.data % 64)

    def advance_reference(self, polls: int) -> bool:
        """Run the reference to its poll point number `polls`, or the finisher. False: too long."""
        h, d, engine = self.reference.hart, self.desk, self.reference.engine
        d.limit = polls
        self.stop_showed |= h.poll & 1
        self._poll()  # to start is a poll point
        while d.finished == 0 and d.polls < polls:
            while True:
                self.steps += 1
                if self.trace is not None:
                    self.trace.append((h.pc, h.mode))
                if engine.step(h):
                    break
                if self.steps > STEPS:
                    return False
            self._poll()
        return self.steps <= STEPS

    def _poll(self) -> None:
        h, d = self.reference.hart, self.desk
        d.polls += 1
        if h.poll & 1:
            self.reference.engine._poll_interrupts(h)

    def watch(self, polls: int) -> bool:
        """Run the template engine to the poll point number `polls`. False: it had to be stopped."""
        n, d = self.native.hart, self.native.desk
        n.poll |= desk.POLL_WATCH
        d.limit = polls
        return self.native.go()

    def differences(self) -> list[str]:
        """What differs now."""
        h, n = self.reference.hart, self.native.hart
        found = []
        for name in SCALARS:
            a, b = int(getattr(h, name)), int(getattr(n, name))
            if a != b:
                found.append(f"{name}: reference {a:#x}, template {b:#x}")
        for name in ARRAYS:
            for i, (a, b) in enumerate(zip(getattr(h, name), getattr(n, name), strict=True)):
                if a != b:
                    found.append(f"{name}[{i}]: reference {a:#x}, template {b:#x}")
        for name in DESK_FIELDS:
            a, b = getattr(self.desk, name), getattr(self.native.desk, name)
            if a != b:
                found.append(f"desk.{name}: reference {a:#x}, template {b:#x}")
        if (h.poll ^ n.poll) & 1:
            found.append(f"poll: reference {h.poll:#x}, template {n.poll:#x}")
        mine, other = self.reference.memory[:], self.native.memory[:]
        if mine != other:
            for page in range(0, len(mine), 4096):
                if mine[page:page + 4096] != other[page:page + 4096]:
                    at = next(i for i in range(page, page + 4096) if mine[i] != other[i]) & ~7
                    found.append(f"RAM {RAM + at:#x}: reference {mine[at:at + 8][::-1].hex()}, template {other[at:at + 8][::-1].hex()}")
        return found

    def undefined(self, program: Program) -> bool:
        """Did the program change page tables without a fence: then nothing is promised."""
        low, high = scaffold.TABLES - RAM, scaffold.TABLES_END - RAM
        before, after = self.image[low:high], self.reference.memory[low:high]
        if before == after:
            return False
        edited = {address - scaffold.TABLES for address in program.edited}
        for at in range(0, high - low, 8):
            if before[at:at + 8] != after[at:at + 8] and at not in edited:
                changed = int.from_bytes(before[at:at + 8], "little") ^ int.from_bytes(after[at:at + 8], "little")
                if changed & ~0xC0:
                    return True
        return False

    def check(self, program: Program, stops: int = 3, polls: int = 700) -> list[str]:
        """Run on both; what differs. First poll point by poll point with stops, then at full speed if the program ends."""
        self.load(program)
        self.steps = self.stop_showed = 0
        r = random.Random(program.data)
        limits = sorted({polls, *(r.randrange(1, polls) for _ in range(stops))})
        ended = False
        for limit in limits:
            in_time = self.advance_reference(limit)
            if not in_time:
                return []  # runs on without a poll point; only the stops so far count
            if not self.watch(limit):
                return ["template engine did not stop", *self.differences()]
            if found := self.differences():
                return [] if self.undefined(program) else [f"at poll point {self.desk.polls} of {limit}", *found]
            ended = self.desk.finished != 0
            if ended:
                break
        if self.undefined(program) or not ended or self.stop_showed:
            return []
        return self.at_full_speed(program)

    def at_full_speed(self, program: Program) -> list[str]:
        """Without the watch, so that jumps stay linked; compared at the end with the reference's end."""
        h = self.reference.hart
        kept = [getattr(h, name) if name in SCALARS else list(getattr(h, name)) for name in FIELDS]
        memory, finished, reads, trace, poll = self.reference.memory[:], self.desk.finished, self.desk.reads, self.desk.trace, h.poll
        self.load(program)
        self.native.hart.poll = 0
        stopped = self.native.go()
        for name, value in zip(FIELDS, kept, strict=True):
            if name in SCALARS:
                setattr(h, name, value)
            else:
                getattr(h, name)[:] = value
        self.reference.memory[:] = memory
        self.desk.finished, self.desk.reads, self.desk.trace, self.desk.polls = finished, reads, trace, self.native.desk.polls
        h.poll = poll
        if not stopped:
            return ["template engine did not stop (full speed)", *self.differences()]
        return [f"full speed: {line}" for line in self.differences()]

    def narrow(self, program: Program, polls: int = 700) -> tuple[list[str], list[str]]:
        """The first poll point after which the engines differ: what differs there, and what ran since the one before."""
        low, high = 0, polls
        while high - low > 1:
            middle = (low + high) // 2
            if self._differ_at(program, middle):
                high = middle
            else:
                low = middle
        self.trace = []
        found = self._differ_at(program, high)
        self.trace, ran = None, self.trace
        self.load(program)
        lines = []
        for pc, mode in ran:
            if pc & 0x7_FFFF >= scaffold.CODE - RAM:
                lines.append(f"{pc:#x} mode {mode}")
        return found, lines

    def _differ_at(self, program: Program, polls: int) -> list[str]:
        self.load(program)
        self.steps = 0
        if not self.advance_reference(polls):
            return []
        if not self.watch(polls):
            return ["did not stop"]
        return self.differences()


def smaller(program: Program, fails: Callable[[Program], bool]) -> Program:
    """Delete instructions (put no-operations) and state as long as it fails still."""

    def without(words: list[tuple[int, int, int]], low: int, high: int) -> list[tuple[int, int, int]]:
        return [(a, (0x13 if n == 4 else 1) if low <= i < high else w, n) for i, (a, w, n) in enumerate(words)]

    best = program
    for size in (256, 64, 16, 4, 1):
        i = 0
        while i < len(best.words):
            if any(w not in (0x13, 1) for _, w, _ in best.words[i:i + size]):
                trial = replace(best, words=without(best.words, i, i + size))
                if fails(trial):
                    best = trial
            i += size
    for i in range(len(best.landings)):
        if i < len(best.landings) and fails(trial := replace(best, landings=best.landings[:i] + best.landings[i + 1:])):
            best = trial
    for name in list(best.state):
        if name != "pc" and fails(trial := replace(best, state={k: v for k, v in best.state.items() if k != name})):
            best = trial
    for name, value in (("entries", []), ("edited", []), ("pool", []), ("junk", -1), ("vectored", False), ("patience", 0), ("data", 0)):
        if fails(trial := replace(best, **{name: value})):
            best = trial
    for size in (256, 64, 16, 4, 1):  # no-operations around which nothing is left
        i = 0
        while i < len(best.words):
            piece = best.words[i:i + size]
            trial = replace(best, words=best.words[:i] + best.words[i + size:])
            if all(w in (0x13, 1) for _, w, _ in piece) and fails(trial):
                best = trial
            else:
                i += size
    return best


def describe(program: Program, found: list[str]) -> str:
    """For the person who reads the failure."""
    return "\n".join([program.note, *found[:20], program.listing()])


def disassembled(program: Program, lines: list[str]) -> list[str]:
    """Traces with texts, from the program's own words."""
    at = {a & 0xF_FFFF: w for a, w, _ in program.words}
    made: list[Any] = []
    for line in lines:
        pc = int(line.split()[0], 16)
        word = at.get(pc & 0xF_FFFF)
        made.append(f"{line}  {table.disassemble(word, pc) if word is not None else ''}")
    return made
