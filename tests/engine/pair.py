"""One program on two engines: the reference, which is the oracle, and the template engine.

Lives here: setting both to the same state, running to the same poll point, comparing everything a program could see.
"""

from __future__ import annotations

import ctypes
import random
from typing import Any

from popek.api.native import vectors
from popek.base.memory import Block
from popek.isa import ports
from popek.isa.hart import Hart, reset
from popek.isa.v import BLOCK
from tests.engine import desk, scaffold
from tests.engine.desk import Desk
from tests.engine.native import NativeMachine
from tests.engine.scaffold import RAM, Program
from tests.isa.machine import Machine

PRIVATE = set(
    "board vm vector tlb scratch engine walk_level walk_inside walk_global trap_cause trap_tval poll hartid".split()
    + ["reservation_version"]
)
FIELDS = [name for name in Hart.fields if name not in PRIVATE]
ARRAYS = {name for name in FIELDS if hasattr(Hart.fields[name], "count") or name in ("x", "f", "pmpcfg", "pmpaddr")}
SCALARS = [name for name in FIELDS if name not in ARRAYS]
DESK_FIELDS = ("finished", "polls", "reads", "trace")
TABLES = slice(scaffold.TABLES - RAM, scaffold.TABLES_END - RAM)
ACCESSED_DIRTY = int.from_bytes((0xC0).to_bytes(8, "little") * ((TABLES.stop - TABLES.start) // 8), "little")
VECTORS = 1024  # bytes of the vector registers
STEPS = 40_000  # a program that runs longer is cut there


class State:
    """A hart's state, its desk and its RAM, as a program left them."""

    def __init__(self, hart: Any, desk: Any, memory: Any) -> None:
        self.scalars = {name: int(getattr(hart, name)) for name in SCALARS}
        self.arrays = {name: list(getattr(hart, name)) for name in ARRAYS}
        self.desk = {name: int(getattr(desk, name)) for name in DESK_FIELDS}
        self.poll = int(hart.poll) & 1
        registers = ctypes.string_at(hart.vector, VECTORS)
        self.arrays["v"] = [int.from_bytes(registers[i : i + 32], "little") for i in range(0, VECTORS, 32)]
        self.memory = memory[:]

    def differences(self, other: State, polls: bool = True) -> list[str]:
        """What differs (`polls`: also in how often the harts were asked to look up); `self` is the reference's."""
        found = []
        for name, a in [*self.scalars.items(), *self.desk.items()]:
            b = {**other.scalars, **other.desk}[name]
            if a != b and (polls or name != "polls"):
                found.append(f"{name}: reference {a:#x}, template {b:#x}")
        for name, array in self.arrays.items():
            for i, (a, b) in enumerate(zip(array, other.arrays[name], strict=True)):
                if a != b:
                    found.append(f"{name}[{i}]: reference {a:#x}, template {b:#x}")
        if polls and self.poll != other.poll:
            found.append(f"poll: reference {self.poll}, template {other.poll}")
        if self.memory != other.memory:
            for page in range(0, len(self.memory), 4096):
                if self.memory[page : page + 4096] != other.memory[page : page + 4096]:
                    at = next(i for i in range(page, page + 4096) if self.memory[i] != other.memory[i]) & ~7
                    mine, its = self.memory[at : at + 8][::-1].hex(), other.memory[at : at + 8][::-1].hex()
                    found.append(f"RAM {RAM + at:#x}: reference {mine}, template {its}")
        return found


def set_up(hart: Any, desk: Any, program: Program) -> None:
    """A hart that was reset, as the program wants it."""
    for name in SCALARS:
        if name not in ("mstatus", "mode", "stimecmp"):
            setattr(hart, name, 0)
    for name in ARRAYS:
        array = getattr(hart, name)
        for i in range(len(array)):
            array[i] = 0
    hart.poll = 0
    for name, value in program.state.items():
        array = name.rstrip("0123456789")
        if array in ARRAYS and array != name:
            getattr(hart, array)[int(name[len(array) :])] = value
        else:
            setattr(hart, name, value)
    ctypes.memmove(hart.vector, random.Random(program.data).randbytes(VECTORS), VECTORS)
    for name in ("limit", *DESK_FIELDS):
        setattr(desk, name, 0)


def load_native(native: NativeMachine, number: int, program: Program, image: bytes) -> None:
    """A hart of the template engine at the program's start."""
    native.rams[number].map[:] = image
    native.prepare(number)
    set_up(native.harts[number], native.desks[number], program)
    native.forget(number)
    native.age(program.data % 64, number)


class Oracle:
    """The reference machine. It notices page tables that were changed without a fence: then nothing is promised."""

    def __init__(self) -> None:
        self.machine = Machine(1, scaffold.SIZE, {**desk.PORTS, ports.tlb_flush: self._fence})
        self.hart, self.engine, self.memory = self.machine.hart, self.machine.engine, self.machine.memory
        self.desk = Desk()
        self.hart.vm = self.desk
        self._vectors = Block(BLOCK)
        self.hart.vector = self._vectors.address
        self.trace: list[tuple[int, int]] | None = None
        self.steps = 0
        self.stop_showed = 0  # an interrupt was taken earlier because of a stop
        self.undefined = False
        self.tables = b""  # as they were when last fenced

    def load(self, program: Program, image: bytes) -> None:
        """At the program's start."""
        self.memory[:] = image
        reset(self.hart)
        set_up(self.hart, self.desk, program)
        self.steps = self.stop_showed = 0
        self.undefined = False
        self._fenced()

    def _fence(self, h: Any, vaddr: int, asid: int, flags: int) -> None:
        if not flags & ports.FLUSH_BY_ASID or asid == h.satp >> 44 & 0xFFFF:
            self._fenced()

    def _fenced(self) -> None:
        self.tables = self.memory[TABLES]

    def _look_at_tables(self) -> None:
        now = self.memory[TABLES]
        if now != self.tables:
            was, value = int.from_bytes(self.tables, "little"), int.from_bytes(now, "little")
            self.undefined |= (was ^ value) & ~ACCESSED_DIRTY != 0 or was & ~value != 0
            self.tables = now

    def advance(self, polls: int) -> bool:
        """Run to poll point number `polls`, or the finisher. False: too long."""
        h, d, engine = self.hart, self.desk, self.engine
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
        self.desk.polls += 1
        self._look_at_tables()
        if self.hart.poll & 1:
            self.engine._poll_interrupts(self.hart)

    @property
    def state(self) -> State:
        """Now."""
        return State(self.hart, self.desk, self.memory)


class Pair:
    """The reference and a native machine."""

    def __init__(self) -> None:
        self.oracle = Oracle()
        vectors()  # made now, if need be: programs have little time
        self.native = NativeMachine(1, scaffold.SIZE)
        self.image = b""

    def load(self, program: Program) -> None:
        """Both at the program's start."""
        self.image = program.image()
        self.oracle.load(program, self.image)
        load_native(self.native, 0, program, self.image)

    def watch(self, polls: int) -> bool:
        """Run the template engine to the poll point number `polls`. False: it had to be stopped."""
        n, d = self.native.hart, self.native.desk
        n.poll |= desk.POLL_WATCH
        d.limit = polls
        return self.native.go()

    def differences(self, polls: bool = True) -> list[str]:
        """What differs now."""
        return self.oracle.state.differences(State(self.native.hart, self.native.desk, self.native.memory), polls)

    def check(self, program: Program, stops: int = 3, polls: int = 700) -> list[str]:
        """Run on both; what differs. First with stops at poll points, then at full speed if the program ends."""
        self.load(program)
        r = random.Random(program.data)
        ended = False
        for limit in sorted({polls, *(r.randrange(1, polls) for _ in range(stops))}):
            if not self.oracle.advance(limit):
                return []  # runs on without a poll point; only the stops so far count
            if not self.watch(limit):
                return ["template engine did not stop", *self.differences()]
            if found := self.differences():
                return [] if self.oracle.undefined else [f"at poll point {self.oracle.desk.polls} of {limit}", *found]
            ended = self.oracle.desk.finished != 0
            if ended:
                break
        if self.oracle.undefined or not ended or self.oracle.stop_showed:
            return []
        return self.at_full_speed(program)

    def at_full_speed(self, program: Program) -> list[str]:
        """Without the watch, so that jumps stay linked; compared at the end with the reference's end."""
        load_native(self.native, 0, program, self.image)
        if not self.native.go():
            return ["template engine did not stop (full speed)", *self.differences(False)]
        return [f"full speed: {line}" for line in self.differences(False)]

    def narrow(self, program: Program, polls: int = 700) -> tuple[list[str], list[str]]:
        """The first poll point at which the engines differ: what differs, and what ran up to there."""
        low, high = 0, polls
        while high - low > 1:
            middle = (low + high) // 2
            if self._differ_at(program, middle):
                high = middle
            else:
                low = middle
        self.oracle.trace = []
        found = self._differ_at(program, high)
        self.oracle.trace, ran = None, self.oracle.trace
        self.load(program)
        lines = []
        for pc, mode in ran:
            if pc & 0x7_FFFF >= scaffold.CODE - RAM:
                lines.append(f"{pc:#x} mode {mode}")
        return found, lines

    def _differ_at(self, program: Program, polls: int) -> list[str]:
        self.load(program)
        if not self.oracle.advance(polls):
            return []
        if not self.watch(polls):
            return ["did not stop"]
        return self.differences()
