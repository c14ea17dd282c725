"""Register groups: which register numbers an instruction may name, and where the elements are. No arithmetic.

Unprivileged ISA, "V", "Vector Operands". A group is given by the logarithm of its EMUL: -3 ... 3. What violates a rule
of that section is reserved, and here an illegal instruction; not looked at is only the rule that a source is not read
with two element widths.
"""
from __future__ import annotations

from popek.isa.hart import ILLEGAL_INSTRUCTION, Hart
from popek.isa.vector.layout import VILL, VLEN_BYTES
from popek.lang import Trap, fn, i64, u32, u64, unlikely


@fn(inline=True)
def lmul(h: Hart) -> i64:
    """The logarithm of LMUL. No instruction that asks for it works with an illegal vtype."""
    if unlikely(h.vtype & VILL != 0):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return i64(h.vtype << 61) >> 61


@fn(inline=True)
def vlmax(h: Hart, size: u32) -> u64:
    """The elements of 1 << size bytes that a group of LMUL registers holds."""
    log = lmul(h) + 5 - i64(size)
    return u64(1) << u64(log)


@fn(inline=True)
def span(log: i64) -> u32:
    """How many registers a group has."""
    return u32(1) << u32(log) if log > 0 else u32(1)


@fn
def register(h: Hart, number: u32, log: i64) -> u64:
    """The address of a group's first element."""
    if unlikely(log > 3 or log < -3 or number & (span(log) - 1) != 0):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return h.vector + u64(number) * VLEN_BYTES


@fn
def destination(h: Hart, number: u32, vm: u32, log: i64) -> u64:
    """The same of a destination, which is not the mask ("Vector Masking")."""
    if unlikely(vm == 0 and number == 0):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return register(h, number, log)


@fn
def meet(a: u32, a_log: i64, b: u32, b_log: i64) -> bool:
    """Have two groups a register in common?"""
    return a < b + span(b_log) and b < a + span(a_log)


@fn
def apart(h: Hart, vd: u32, log: i64, vs: u32, vs_log: i64) -> None:
    """A destination that must not overlap a source."""
    if unlikely(meet(vd, log, vs, vs_log)):
        raise Trap(ILLEGAL_INSTRUCTION, 0)


@fn
def narrower(h: Hart, vd: u32, log: i64, vs: u32, vs_log: i64) -> None:
    """A destination of narrower elements than the source: only their first registers may be the same."""
    if unlikely(vd != vs and meet(vd, log, vs, vs_log)):
        raise Trap(ILLEGAL_INSTRUCTION, 0)


@fn
def wider(h: Hart, vd: u32, log: i64, vs: u32, vs_log: i64) -> None:
    """A destination of wider elements than the source: only their last registers may be the same."""
    if unlikely(meet(vd, log, vs, vs_log) and (vs_log < 0 or vd + span(log) != vs + span(vs_log))):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
