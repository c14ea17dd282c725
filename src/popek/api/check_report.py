"""What `popek boot --check` says when two engines differ: a headline, and the details. Text only."""

from __future__ import annotations

from typing import TYPE_CHECKING

from popek.isa import table
from popek.isa.csr import CSRS
from popek.lang.run import compiled
from popek.vmm.lockstep import KINDS, MISSED_POLL

if TYPE_CHECKING:
    from popek.api.check_narrow import Finding

ROWS = 32  # of instructions, and of doublewords in memory, that are shown
_X = ("zero ra sp gp tp t0 t1 t2 s0 s1 a0 a1 a2 a3 a4 a5 a6 a7 s2 s3 s4 s5 s6 s7 s8 s9 s10 s11 t3 t4 t5 t6").split()
_F = [*(f"ft{i}" for i in range(8)), "fs0", "fs1", *(f"fa{i}" for i in range(8)), *(f"fs{i}" for i in range(2, 12)),
      *(f"ft{i}" for i in range(8, 12))]  # fmt: skip
_STORES = ("store", "amo")


def name_of(field: str) -> str:
    """A register's name for people: x10 is a0."""
    if field[0] in "xf" and field[1:].isdigit():
        return (_X if field[0] == "x" else _F)[int(field[1:])]
    return field


def headline(found: Finding) -> str:
    """One line."""
    first, second = found.names
    rows = [name_of(name) for name, _, _ in found.registers if name != "instret"]
    what = ", ".join(rows[:4]) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")
    if not what and found.memory:
        what = f"memory at {found.memory[0][0]:#x}"
    if found.how and not found.trace:
        what = found.how
    return f"{first} and {second} differ after {found.instret:,} instructions: {what or found.how or 'in memory'}"


def event(kind: int, size: int, address: int, value: int) -> str:
    """What happened, in words."""
    name = KINDS[kind]
    if name.startswith("device write"):
        return f"a {name} of {value:#x} to {address:#x}, {size} bytes"
    if "device" in name and size:
        return f"a {name} at {address:#x}, {size} bytes"
    return f"a {name}"


def wrong(why: int, who: str, other: str, did: str, instead: str, pc: int) -> str:
    """Why a replay went wrong."""
    if why == MISSED_POLL:
        return f"{who} has no poll point where {other} looked for interrupts (next at {pc:#x})"
    return f"{who} did {did} at pc {pc:#x}, {other} did {instead}"


def instruction(pc: int, word: int) -> str:
    """One line of disassembly."""
    if not word:
        return f"{pc:#018x}            (cannot be fetched, or illegal)"
    digits = f"{word:08x}" if word & 3 == 3 else f"{word:04x}    "
    try:
        text = table.disassemble(word, pc)
    except ValueError:
        text = "(illegal)"
    return f"{pc:#018x}  {digits}  {text}"


def writes(word: int, changed: set[str], memory: bool) -> bool:
    """May the instruction have written what differs?"""
    d = table.Decoded()
    compiled(table.decode)(word, d)
    if not d.op:
        return False
    op = (*table.OPS, *table.GATES)[d.op - 1]
    if op.result == "rd" and f"x{d.rd}" in changed or op.result == "frd" and f"f{d.rd}" in changed:
        return True
    widely = op.kind in ("csr", "system", "vector")
    if op.kind == "fp" and "fflags" in changed or widely and changed - {"pc", "instret"}:
        return True
    return memory and (op.kind in _STORES or op.name.startswith("vector_store"))


def report(found: Finding) -> str:
    """All that is known, in lines."""
    first, second = found.names
    lines = [f"equal up to instruction {found.since:,}, different at {found.instret:,}"]
    if found.how:
        lines.append(found.how)
    changed = {name for name, _, _ in found.registers}
    if found.trace:
        shown = found.trace[-ROWS:]
        lines += ["", f"what {second} ran from the last poll point at which both were equal"
                  + (f" ({len(found.trace):,} instructions, the last {ROWS}):" if len(found.trace) > ROWS else ":"),
                  *(f"{'>' if writes(word, changed, bool(found.memory)) else ' '} {instruction(pc, word)}"
                    for pc, word in shown)]  # fmt: skip
        lines.append("  (> may have written what differs)")
    elif not found.narrowed:
        lines.append("it did not come again when both engines went back and stopped at every poll point, so it may lie "
                     "anywhere between the two")  # fmt: skip
    width = max([len(first), len(second), 18])
    if found.registers:
        lines += ["", f"{'':12} {first:>{width}} {second:>{width}}"]
        lines += [f"{name_of(name):12} {a:>#{width}x} {b:>#{width}x}" for name, a, b in found.registers]
    if found.memory:
        lines += ["", f"{'memory':12} {first:>{width}} {second:>{width}}"]
        lines += [f"{at:#012x} {a[::-1].hex():>{width}} {b[::-1].hex():>{width}}" for at, a, b in found.memory[:ROWS]]
        if len(found.memory) > ROWS:
            lines.append("...")
    return "\n".join([*lines, "", *state(found)])


def state(found: Finding) -> list[str]:
    """The whole of the second side's registers; what differs was shown before."""
    from popek.api.check_side import fields

    second = fields(found.state[1])
    lines = [f"registers of {found.names[1]} (those that differ are marked *)"]
    changed = {name for name, _, _ in found.registers}
    rows: list[tuple[str, int]] = [("pc", second["pc"]), ("mode", second["mode"])]
    rows += [(f"x{i}", second["x"][i]) for i in range(1, 32)]
    rows += [(f"f{i}", value) for i, value in enumerate(second["f"]) if value or f"f{i}" in changed]
    rows += [(n, second[n]) for n in ("fflags", "frm", "instret", "mip")]
    rows += [(csr.name, second[csr.field]) for csr in CSRS if csr.field and csr.field not in ("frm", "hartid")]
    rows.append(("mstatus", second["mstatus"]))
    for at in range(0, len(rows), 3):
        three = rows[at : at + 3]
        lines.append("  ".join(f"{'*' if n in changed else ' '}{name_of(n):10} {v:#018x}" for n, v in three))
    return lines
