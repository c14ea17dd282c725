"""Is every sensitive instruction privileged? Popek and Goldberg's question, answered by running the definitions.

"Formal requirements for virtualizable third generation architectures", CACM 17:7, 1974. Nothing is written down about
an instruction here: each is executed in many configurations of the machine, and what it touched decides. A row keeps
its witness, so that every verdict can be checked by hand.

control-sensitive     somewhere, without trapping, it changed the configuration of the machine
behaviour-sensitive   in two configurations it gave a program two different results
privileged            it traps in every user-mode configuration, and not in every machine-mode one
"""

from __future__ import annotations

import ctypes
import itertools
import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from popek.isa import csr, hart, memory, ports, table, v
from popek.isa.hart import MACHINE, SUPERVISOR, USER, Board, Hart
from popek.isa.op import Op
from popek.isa.pmp import pmp_open
from popek.isa.vector import layout
from popek.isa.vector import table as vectors
from popek.lang import Trap
from popek.lang.run import Runner

#: What a program may know and change: all other fields of Hart that mean anything are configuration.
VISIBLE = ("pc", "x", "f", "fflags", "frm", "vl", "vtype", "vstart", "vxrm", "vxsat")
#: Bookkeeping that no instruction can show.
HIDDEN = ("trap_cause", "trap_tval", "board", "vm", "vector", "tlb", "scratch", "engine", "walk_level", "walk_inside",
          "walk_global", "reservation_addr", "reservation_value", "reservation_version", "poll", "pmp_used",
          "pmp_locked")  # fmt: skip

RAM_BASE, RAM_SIZE = 0x8000_0000, 8192
#: Ports whose call is itself a change of the machine: translations, sleep, deadlines.
EFFECTS = (ports.tlb_flush, ports.wait_for_interrupt, ports.timer_changed)


@dataclass(frozen=True)
class Configuration:
    """One way the machine can be set up; `allow` opens everything a mode may be granted."""

    mode: int
    allow: bool
    pattern: int

    def __str__(self) -> str:
        return f"{'US-M'[self.mode]}-mode, {'all granted' if self.allow else 'nothing granted'}, state {self.pattern}"


@dataclass(frozen=True)
class Result:
    """What one execution did: a trap's cause, or the program-visible state, and the configuration that changed."""

    cause: int | None
    visible: tuple[Any, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """The verdict on one instruction (or one register of a CSR instruction)."""

    name: str
    control: bool
    behaviour: bool
    privileged: bool
    always_traps: bool
    can_trap: bool        # some configuration makes it trap in user mode
    witness: str

    @property
    def sensitive(self) -> bool:
        """Control- or behaviour-sensitive."""
        return self.control or self.behaviour

    @property
    def verdict(self) -> str:
        """"ok", "by configuration" (sensitive, trapped when the monitor says so) or "violation"."""
        if not self.sensitive or self.privileged or self.always_traps:
            return "ok"
        return "by configuration" if self.can_trap else "violation"


def audit() -> tuple[Row, ...]:
    """One row for every instruction, CSR instructions once for reading and once for writing each register."""
    bench = _Bench()
    return tuple(_judge(name, bench, word) for name, word in subjects())


def subjects() -> Iterator[tuple[str, int]]:
    """Name and word of everything to judge."""
    for op in table.OPS:
        if op.kind != "csr":
            yield op.name, _word(op)
    for op in vectors.OPS:
        yield op.name, _word(op)
    for row in csr.CSRS:
        name, number = next(iter(row.names.items()))      # the first of alike ones speaks for all
        yield f"csrr {name}", table.assemble(f"csrr a0, {name}")
        if number >> 10 != 3:
            yield f"csrw {name}", table.assemble(f"csrw {name}, a1")


_REGISTERS = {"rd": 10, "rs1": 11, "rs2": 12, "rs3": 13, "vd": 8, "vs3": 8, "vs1": 16, "vs2": 24, "vm": 1}


def _word(op: Op) -> int:
    """The operation with distinct registers and a small immediate."""
    word = op.encoding.match
    for field in op.encoding.fields:
        value = _REGISTERS.get(field.name.removeprefix("f"), 0)
        if field.name in ("imm", "uimm"):
            value = 1 << field.bottom
            if op.kind in ("load", "store", "amo", "fp"):
                value = 0
        word |= field.insert(value)
    return word


def _vtype(word: int) -> int:
    """Elements of 64 bits for what needs them (accesses of that width, extension by eight), of 32 for all others."""
    access = word & 0x5F == 0b0000111 and word >> 12 & 7 == 7
    extension = word >> 26 == 0b010010 and word >> 12 & 7 == 2 and word >> 16 & 15 == 1
    return (3 if access or extension else 2) << 3


class _Bench:
    """A hart and two pages of memory, set up afresh for every execution."""

    def __init__(self) -> None:
        self.memory = mmap.mmap(-1, RAM_SIZE)
        self.board = Board()
        self.board.ram = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        self.board.ram_base, self.board.ram_size = RAM_BASE, RAM_SIZE
        self.effects: list[str] = []
        self.time = 0
        quiet = {p: lambda *_: None for p in vars(ports).values() if getattr(p, "kind", "") == "port"}
        loud = {p: self._record(p) for p in EFFECTS}
        self.vectors = mmap.mmap(-1, v.BLOCK)
        self.registers = ctypes.addressof(ctypes.c_char.from_buffer(self.vectors))
        run = Runner({
            **quiet, **loud, ports.read_time: lambda h: self.time,
            ports.vector: lambda h, word: run[vectors.execute](h, word),
            ports.element_load: lambda h, addr, n: run[getattr(memory, f"load_u{n * 8}")](h, addr),
            ports.element_store: lambda h, addr, n, value: run[getattr(memory, f"store_u{n * 8}")](h, addr, value),
            ports.element_view: lambda h, addr, writing: 0})  # fmt: skip
        self._decode, self._execute, self._open = run[table.decode], run[table.execute], run[pmp_open]
        self.configurations = [Configuration(mode, allow, pattern) for mode, allow, pattern in
                               itertools.product((USER, SUPERVISOR, MACHINE), (True, False), (1, 2))]

    def _record(self, port: Any) -> Callable[..., None]:
        return lambda *_: self.effects.append(port.__name__)

    def run(self, word: int, configuration: Configuration) -> Result:
        """Execute one instruction in one configuration."""
        h = self._set_up(configuration)
        h.vtype = _vtype(word)
        self.effects.clear()
        before = _snapshot(h)
        d = table.Decoded()
        self._decode(word, d)
        try:
            self._execute(h, d)
        except Trap:
            return Result(h.trap_cause, (), ())
        after = _snapshot(h)
        changed = tuple(name for name in after if name not in VISIBLE and after[name] != before[name])
        visible = (*(after[name] for name in VISIBLE), self.memory[:], self.vectors[: layout.RESULT])
        return Result(None, visible, changed + tuple(self.effects))

    def _set_up(self, configuration: Configuration) -> Hart:
        h = Hart()
        for name, type_ in Hart.fields.items():
            if name not in VISIBLE and name not in HIDDEN and not name.startswith("pmp") and hasattr(type_, "mask"):
                setattr(h, name, 0x1110 * configuration.pattern)
        self._open(h)
        h.pmpaddr[1:] = [0x1000 * configuration.pattern] * (hart.PMP_ENTRIES - 1)      # OFF: no effect
        h.board = self.board
        h.pc = RAM_BASE
        h.x[11], h.x[12], h.x[13] = RAM_BASE + 4096, 0x20C, 3
        h.f[10:14] = [0x3FD5555555555555, 0x3FF8000000000000, 0x4008000000000000, 0x4000000000000001]
        self.memory[:] = bytes(range(256)) * (RAM_SIZE // 256)
        self.vectors[:] = bytes((1, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0)) * (v.BLOCK // 16)
        h.vector, h.vl = self.registers, 2
        h.mode = configuration.mode
        h.mstatus = hart.UXL_64 | hart.SXL_64 | (hart.SPP if configuration.pattern == 1 else hart.MPP & 1 << 11)
        h.mcounteren = h.scounteren = h.menvcfg = h.senvcfg = 0
        h.mcountinhibit = configuration.pattern
        h.mie = h.mip = 0x222 * (configuration.pattern - 1)
        h.mideleg = 0x222 if configuration.pattern == 2 else 0x202
        self.time = 1000 if configuration.pattern == 1 else 100_000       # before and after stimecmp, as mip has it
        if configuration.allow:
            h.mstatus |= 1 << hart.FS_SHIFT | 1 << hart.VS_SHIFT
            h.mcounteren = h.scounteren = 0xFFFF_FFFF
            h.menvcfg = h.senvcfg = hart.CBIE | hart.CBCFE | hart.CBZE
            h.menvcfg |= hart.STCE
        else:
            h.mstatus |= hart.TVM | hart.TW | hart.TSR
        return h


def _snapshot(h: Hart) -> dict[str, Any]:
    return {name: tuple(value) if isinstance(value := getattr(h, name), list) else value
            for name in Hart.fields if name not in HIDDEN}


def _judge(name: str, bench: _Bench, word: int) -> Row:
    results = {configuration: bench.run(word, configuration) for configuration in bench.configurations}
    ran = {c: r for c, r in results.items() if r.cause is None}
    user = [r for c, r in results.items() if c.mode == USER]
    control = next((c for c, r in ran.items() if r.changed), None)
    pairs = itertools.combinations(ran, 2)
    behaviour = next((pair for pair in pairs if ran[pair[0]].visible != ran[pair[1]].visible), None)
    traps = all(r.cause is not None for r in user)
    witness = ""
    if control:
        witness = f"{control}: changes {', '.join(ran[control].changed)}"
    elif behaviour:
        witness = f"differs between {behaviour[0]} and {behaviour[1]}"
    return Row(name, control is not None, behaviour is not None, traps and bool(ran), not ran,
               any(r.cause is not None for r in user), witness)


def violations(rows: tuple[Row, ...]) -> tuple[Row, ...]:
    """Sensitive instructions that nothing can make trap: with one of them the theorem does not hold."""
    return tuple(row for row in rows if row.verdict == "violation")
