"""Values of guest registers in a region, and which of its definitions reach where.

Lives here: what a value is to LLVM, and the question where blocks need a phi. Not here: what instructions do with
values (lower).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from popek.engine.optimizing.form import Block, Step

FLOAT_REGISTERS = 32  # f0 counts as register 32
ENTRY = -1  # the definition that is not in the region: what the register held on entry
_MERGED = 1 << 20  # plus a block's number: the phi at its beginning


class Value(NamedTuple):
    """One value. `text`: LLVM's operand; `type`: i64, double or float (a NaN-boxed single's number).

    An integer is known to be `root` + `offset`. `constant`: its value, if it is known, relative to BASE if `based`:
    then `text` is empty until somebody needs the value.
    """

    text: str
    type: str = "i64"
    root: str = ""
    offset: int = 0
    constant: int | None = None
    based: bool = False


def signed(value: int) -> int:
    """The signed 64-bit number with the same bits."""
    return (value & (1 << 64) - 1 ^ 1 << 63) - (1 << 63)


def plain(text: str) -> Value:
    """An integer of which nothing is known."""
    return Value(text, root=text)


def number(value: int) -> Value:
    """A constant."""
    value = signed(value)
    return Value(str(value), root="0", offset=value, constant=value)


def address(offset: int) -> Value:
    """BASE + offset."""
    offset = signed(offset)
    return Value("", root="@base", offset=offset, constant=offset, based=True)


def based(offset: int, name: Callable[[], str]) -> tuple[list[str], str]:
    """Lines that make BASE + offset, and the operand."""
    base = name()
    lines = [f"  {base} = load i64, ptr @base"]
    if offset == 0:
        return lines, base
    made = name()
    return [*lines, f"  {made} = add i64 {base}, {offset}"], made


def written(step: Step) -> int | None:
    """The register that a step writes, if any."""
    i = step.instruction
    if step.stops or not i.op.result:
        return None
    if i.op.result == "frd":
        return FLOAT_REGISTERS + i.rd
    return i.rd or None


def reaching(blocks: list[Block]) -> list[dict[int, int]]:
    """For each block and each register that the region writes: the definition that holds at its beginning.

    ENTRY, or the number of the block whose last definition it is, or `merged(number)` for a phi of that block.
    """
    defines = [{r for s in b.steps if (r := written(s)) is not None} for b in blocks]
    registers = sorted(set().union(*defines))
    found: list[dict[int, int]] = [{} for _ in blocks]
    found[0] = dict.fromkeys(registers, ENTRY)
    changed = True
    while changed:
        changed = False
        for block in blocks:
            n, here = block.number, found[block.number]
            for r in registers:
                old = here.get(r)
                if old == merged(n):
                    continue
                arriving = {b if r in defines[b] else found[b].get(r) for b in block.before} - {None}
                if n == 0:
                    arriving.add(ENTRY)
                if not arriving:
                    continue
                new = arriving.pop() if len(arriving) == 1 else merged(n)
                if new != old:
                    assert new is not None
                    here[r] = new
                    changed = True
    return found


def merged(block: int) -> int:
    """The name of the phi at the beginning of a block."""
    return _MERGED + block
