"""Fixed-point arithmetic: saturation and rounding. Unprivileged ISA, "V", "Vector Fixed-Point Arithmetic Instructions".

Operands as in integer.py. What saturates sets vxsat, so it takes the hart and works on active elements only.
"""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.isa.vector.families import NARROWING, elementwise, operations
from popek.isa.vector.generic import BITS, WS, S, U, W, generic
from popek.lang import u32

#: vxrm: round to nearest up, to nearest even, down, to odd ("Vector Fixed-Point Rounding Mode Register `vxrm`").
NEAREST_UP, NEAREST_EVEN, DOWN, ODD = 0, 1, 2, 3


@generic
def increment(value: W, shift: W, vxrm: u32) -> W:
    """What rounding adds to `value >> shift`: 0 or 1 (the table of the rounding increment r)."""
    if shift == 0 or vxrm == DOWN:
        return W(0)
    half = value >> shift - 1 & 1
    if vxrm == NEAREST_UP:
        return half
    last = value >> shift & 1
    if vxrm == NEAREST_EVEN:
        below = value & (W(1) << shift - 1) - 1
        return half if below != 0 or last != 0 else W(0)
    return W(last == 0 and value & (W(1) << shift) - 1 != 0)


@generic
def rounded(value: W, shift: W, vxrm: u32) -> W:
    """roundoff_unsigned"""
    return (value >> shift) + increment(value, shift, vxrm)


@generic
def rounded_signed(value: W, shift: W, vxrm: u32) -> W:
    """roundoff_signed"""
    return W(WS(value) >> shift) + increment(value, shift, vxrm)


@generic
def clipped(h: Hart, value: W) -> U:
    """The unsigned number nearest to an unsigned one."""
    if value > W(~U(0)):
        h.vxsat = 1
        return ~U(0)
    return U(value)


@generic
def clipped_signed(h: Hart, value: W) -> U:
    """The signed number nearest to a signed one."""
    if WS(S(value)) != WS(value):
        h.vxsat = 1
        return U(1) << U(BITS - 1) if WS(value) < 0 else ~U(0) >> U(1)
    return U(value)


@elementwise("i", "100000", "vxi")
@generic
def vsaddu(h: Hart, a: U, b: U) -> U:
    return clipped(h, W(a) + W(b))


@elementwise("i", "100001", "vxi")
@generic
def vsadd(h: Hart, a: U, b: U) -> U:
    return clipped_signed(h, W(S(a)) + W(S(b)))


@elementwise("i", "100010", "vx")
@generic
def vssubu(h: Hart, a: U, b: U) -> U:
    if a < b:
        h.vxsat = 1
        return U(0)
    return a - b


@elementwise("i", "100011", "vx")
@generic
def vssub(h: Hart, a: U, b: U) -> U:
    return clipped_signed(h, W(S(a)) - W(S(b)))


@elementwise("m", "001000", "vx")
@generic
def vaaddu(h: Hart, a: U, b: U) -> U:
    return U(rounded(W(a) + W(b), W(1), h.vxrm))


@elementwise("m", "001001", "vx")
@generic
def vaadd(h: Hart, a: U, b: U) -> U:
    return U(rounded_signed(W(S(a)) + W(S(b)), W(1), h.vxrm))


@elementwise("m", "001010", "vx")
@generic
def vasubu(h: Hart, a: U, b: U) -> U:
    return U(rounded(W(a) - W(b), W(1), h.vxrm))


@elementwise("m", "001011", "vx")
@generic
def vasub(h: Hart, a: U, b: U) -> U:
    return U(rounded_signed(W(S(a)) - W(S(b)), W(1), h.vxrm))


@elementwise("i", "100111", "vx")
@generic
def vsmul(h: Hart, a: U, b: U) -> U:
    return clipped_signed(h, rounded_signed(W(S(a)) * W(S(b)), W(BITS - 1), h.vxrm))


@elementwise("i", "101010", "vxu")
@generic
def vssrl(h: Hart, a: U, b: U) -> U:
    return U(rounded(W(a), W(b & (BITS - 1)), h.vxrm))


@elementwise("i", "101011", "vxu")
@generic
def vssra(h: Hart, a: U, b: U) -> U:
    return U(rounded_signed(W(S(a)), W(b & (BITS - 1)), h.vxrm))


@elementwise("i", "101110", "vxu", NARROWING)
@generic
def vnclipu(h: Hart, a: W, b: U) -> U:
    return clipped(h, rounded(a, W(b) & (2 * BITS - 1), h.vxrm))


@elementwise("i", "101111", "vxu", NARROWING)
@generic
def vnclip(h: Hart, a: W, b: U) -> U:
    return clipped_signed(h, rounded_signed(a, W(b) & (2 * BITS - 1), h.vxrm))


OPS = operations(__name__)
