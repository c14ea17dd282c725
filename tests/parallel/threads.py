"""What each thread of a litmus test may do, for itself: every value that a load may return gives another run.

Lives here: events of memory with their dependencies, and values of registers. What threads do to each other is rvwmo's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tests.parallel.herd import BRANCHES, Instruction, Litmus, Unsupported

MASK = (1 << 64) - 1


class Event(NamedTuple):
    """One memory operation, or a fence, of a thread. Dependencies are positions of events of that thread."""

    kind: str                  # R, W, F
    place: int = 0             # the variable's address
    value: int = 0
    aq: bool = False
    rl: bool = False
    amo: bool = False          # of an AMO or SC
    pair: int = -1             # of a W: the R it belongs to, of the same AMO or LR/SC
    before: int = 0            # of a fence: 2 reads, 1 writes; 4 is FENCE.TSO
    after: int = 0
    address: frozenset[int] = frozenset()
    data: frozenset[int] = frozenset()
    control: frozenset[int] = frozenset()


class Run(NamedTuple):
    """One way a thread can go."""

    events: tuple[Event, ...]
    registers: tuple[int, ...]


def addresses(test: Litmus) -> dict[str, int]:
    """Where the model puts the variables."""
    return {name: (n + 1) << 40 for n, name in enumerate(test.memory)}


def observed(test: Litmus) -> list[tuple[int, int]]:
    """The registers that stand in an outcome, before the variables: what came from memory, or is asked for."""
    found = [(t, i.rd) for t, thread in enumerate(test.threads) for i in thread
             if i.kind in ("load", "lr", "sc", "amo") and i.rd]  # fmt: skip
    return list(dict.fromkeys([*found, *test.asked]))


def value_of(test: Litmus, value: int | str) -> int:
    return addresses(test)[value] if isinstance(value, str) else value


class _Thread:
    """Runs one thread with every combination of values that its loads may return."""

    def __init__(self, test: Litmus, number: int, domain: dict[int, set[int]]) -> None:
        self.code = test.threads[number]
        self.domain = domain
        self.labels = {i.target: at for at, i in enumerate(self.code) if i.kind == "label"}
        self.start = [0] * 32
        for (thread, register), value in test.registers.items():
            if thread == number:
                self.start[register] = value_of(test, value)
        self.widths: set[tuple[int, int]] = set()
        self.wanted = [r for t, r in observed(test) if t == number]

    def runs(self) -> Iterator[Run]:
        """All of them."""
        nothing: frozenset[int] = frozenset()
        yield from self._from(0, self.start, [nothing] * 32, nothing, [], (-1, 0))

    def _from(self, at: int, x: list[int], depends: list[frozenset[int]], control: frozenset[int],
              events: list[Event], reserved: tuple[int, int]) -> Iterator[Run]:  # fmt: skip
        x, depends, events = x[:], depends[:], events[:]

        def write(register: int, value: int, dependencies: frozenset[int]) -> None:
            if register:
                x[register], depends[register] = value & MASK, dependencies

        while at < len(self.code):
            i = self.code[at]
            at += 1
            place = x[i.rs1] + i.imm & MASK
            address, data = depends[i.rs1], depends[i.rs2]
            if i.kind in ("load", "store", "lr", "sc", "amo"):
                if place not in self.domain:
                    return                             # no variable: a value that cannot be
                self.widths.add((place, i.width))
            match i.kind:
                case "alu":
                    write(i.rd, _compute(i, x), address | data)
                case "branch":
                    control = control | address | data
                    to = self._target(i, at)
                    if _taken(i, x):
                        at = to
                case "jump":
                    at = self._target(i, at)
                case "fence":
                    sets = (4, 0) if i.name == "fence.tso" else (i.imm >> 4 & 3, i.imm & 3)
                    events.append(Event("F", before=sets[0], after=sets[1]))
                case "store":
                    value = _wrap(x[i.rs2], i.width)
                    events.append(Event("W", place, value, address=address, data=data, control=control))
                case "load" | "lr" | "amo":
                    number = len(events)
                    for value in sorted(self.domain[place]):
                        branch = [*events, Event("R", place, value, i.aq, i.rl, i.kind == "amo", -1, 0, 0, address,
                                                 frozenset(), control)]  # fmt: skip
                        if i.kind == "amo":
                            new = _wrap(_amo(i, value, x[i.rs2]), i.width)
                            branch.append(Event("W", place, new, i.aq, i.rl, True, number, 0, 0,
                                                address, data, control))  # fmt: skip
                        saved = x[i.rd], depends[i.rd]
                        write(i.rd, value, frozenset({number}))
                        hold = (number, place) if i.kind == "lr" else reserved
                        yield from self._from(at, x, depends, control, branch, hold)
                        x[i.rd], depends[i.rd] = saved
                    return
                case "sc":
                    if reserved[0] >= 0 and reserved[1] == place:
                        number = len(events)
                        store = Event("W", place, _wrap(x[i.rs2], i.width), i.aq, i.rl, True, reserved[0], 0, 0,
                                      address, data, control)  # fmt: skip
                        saved = x[i.rd], depends[i.rd]
                        write(i.rd, 0, frozenset({number}))
                        yield from self._from(at, x, depends, control, [*events, store], (-1, 0))
                        x[i.rd], depends[i.rd] = saved
                    reserved = (-1, 0)
                    write(i.rd, 1, frozenset())
        yield Run(tuple(events), tuple(x[r] for r in self.wanted))

    def _target(self, i: Instruction, at: int) -> int:
        to = self.labels.get(i.target, len(self.code))
        if to < at:
            raise Unsupported("a loop")
        return to


def _wrap(value: int, width: int) -> int:
    return value & (1 << 8 * width) - 1


def _compute(i: Instruction, x: Sequence[int]) -> int:
    other = x[i.rs2] if i.rs2 else i.imm
    match i.name.removesuffix("w").removesuffix("i"):
        case "add":
            return x[i.rs1] + other
        case "sub":
            return x[i.rs1] - other
        case "xor":
            return x[i.rs1] ^ other & MASK
        case "or":
            return x[i.rs1] | other & MASK
        case "and":
            return x[i.rs1] & other & MASK
    raise Unsupported(i.name)


def _signed(value: int) -> int:
    return (value ^ 1 << 63) - (1 << 63)


def _taken(i: Instruction, x: Sequence[int]) -> bool:
    a, b = x[i.rs1], x[i.rs2]
    made = {"beq": a == b, "bne": a != b, "bltu": a < b, "bgeu": a >= b, "blt": _signed(a) < _signed(b),
            "bge": _signed(a) >= _signed(b)}  # fmt: skip
    assert set(made) == set(BRANCHES)
    return made[i.name]


def _amo(i: Instruction, old: int, operand: int) -> int:
    match i.name.split(".")[0]:
        case "amoswap":
            return operand
        case "amoadd":
            return old + operand
        case "amoor":
            return old | operand
        case "amoxor":
            return old ^ operand
        case "amoand":
            return old & operand
    raise Unsupported(i.name)


def all_runs(test: Litmus) -> list[tuple[int, list[Run], set[tuple[int, int]], dict[int, set[int]]]]:
    """Runs of each thread, once it is known which values variables can hold at all."""
    where = addresses(test)
    domain = {where[name]: {value_of(test, value)} for name, value in test.memory.items()}
    rounds = sum(i.kind in ("store", "sc", "amo") for thread in test.threads for i in thread) + 1
    for _ in range(rounds):
        found = []
        grown = {place: set(values) for place, values in domain.items()}
        for number in range(len(test.threads)):
            thread = _Thread(test, number, domain)
            runs = list(thread.runs())
            found.append((number, runs, thread.widths, domain))
            for run in runs:
                for event in run.events:
                    if event.kind == "W":
                        grown[event.place].add(event.value)
        if grown == domain:
            break
        domain = grown
    return found
