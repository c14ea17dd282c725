"""Integer arithmetic of single width. Unprivileged ISA, "V", "Vector Integer Arithmetic Instructions".

`a` is an element of vs2, `b` of vs1 (or the scalar, or the immediate), `c` of vd before, `k` a bit of v0.
"""
from __future__ import annotations

from popek.isa.vector.families import SINGLE, TRUTH, elementwise, operations
from popek.isa.vector.generic import BITS, WS, S, U, W, generic
from popek.lang import sdiv, srem, u8

MULTIPLY_ADD = SINGLE._replace(swapped=True)
CARRY = SINGLE._replace(vm="0")


@elementwise("i", "000000", "vxi")
@generic
def vadd(a: U, b: U) -> U:
    return a + b


@elementwise("i", "000010", "vx")
@generic
def vsub(a: U, b: U) -> U:
    return a - b


@elementwise("i", "000011", "xi")
@generic
def vrsub(a: U, b: U) -> U:
    return b - a


@elementwise("i", "000100", "vx")
@generic
def vminu(a: U, b: U) -> U:
    return min(a, b)


@elementwise("i", "000101", "vx")
@generic
def vmin(a: U, b: U) -> U:
    return U(min(S(a), S(b)))


@elementwise("i", "000110", "vx")
@generic
def vmaxu(a: U, b: U) -> U:
    return max(a, b)


@elementwise("i", "000111", "vx")
@generic
def vmax(a: U, b: U) -> U:
    return U(max(S(a), S(b)))


@elementwise("i", "001001", "vxi")
@generic
def vand(a: U, b: U) -> U:
    return a & b


@elementwise("i", "001010", "vxi")
@generic
def vor(a: U, b: U) -> U:
    return a | b


@elementwise("i", "001011", "vxi")
@generic
def vxor(a: U, b: U) -> U:
    return a ^ b


@elementwise("i", "100101", "vxu")
@generic
def vsll(a: U, b: U) -> U:
    return a << b


@elementwise("i", "101000", "vxu")
@generic
def vsrl(a: U, b: U) -> U:
    return a >> b


@elementwise("i", "101001", "vxu")
@generic
def vsra(a: U, b: U) -> U:
    return U(S(a) >> b)


@elementwise("m", "100000", "vx")
@generic
def vdivu(a: U, b: U) -> U:
    if b == 0:
        return ~U(0)
    return a // b


@elementwise("m", "100001", "vx")
@generic
def vdiv(a: U, b: U) -> U:
    if b == 0:
        return ~U(0)
    if b == ~U(0):
        return -a           # the most negative number stays what it is
    return U(sdiv(S(a), S(b)))


@elementwise("m", "100010", "vx")
@generic
def vremu(a: U, b: U) -> U:
    if b == 0:
        return a
    return a % b


@elementwise("m", "100011", "vx")
@generic
def vrem(a: U, b: U) -> U:
    if b == 0:
        return a
    if b == ~U(0):
        return U(0)
    return U(srem(S(a), S(b)))


@elementwise("m", "100100", "vx")
@generic
def vmulhu(a: U, b: U) -> U:
    return U(W(a) * W(b) >> BITS)


@elementwise("m", "100101", "vx")
@generic
def vmul(a: U, b: U) -> U:
    return a * b


@elementwise("m", "100110", "vx")
@generic
def vmulhsu(a: U, b: U) -> U:
    return U(WS(S(a)) * WS(b) >> BITS)


@elementwise("m", "100111", "vx")
@generic
def vmulh(a: U, b: U) -> U:
    return U(WS(S(a)) * WS(S(b)) >> BITS)


@elementwise("m", "101001", "vx", MULTIPLY_ADD)
@generic
def vmadd(a: U, b: U, c: U) -> U:
    return b * c + a


@elementwise("m", "101011", "vx", MULTIPLY_ADD)
@generic
def vnmsub(a: U, b: U, c: U) -> U:
    return a - b * c


@elementwise("m", "101101", "vx", MULTIPLY_ADD)
@generic
def vmacc(a: U, b: U, c: U) -> U:
    return b * a + c


@elementwise("m", "101111", "vx", MULTIPLY_ADD)
@generic
def vnmsac(a: U, b: U, c: U) -> U:
    return c - b * a


@elementwise("i", "010000", "vxi", CARRY)
@generic
def vadc(a: U, b: U, k: u8) -> U:
    return a + b + U(k)


@elementwise("i", "010010", "vx", CARRY)
@generic
def vsbc(a: U, b: U, k: u8) -> U:
    return a - b - U(k)


@elementwise("i", "010111", "vxi", CARRY)
@generic
def vmerge(a: U, b: U, k: u8) -> U:
    return b if k != 0 else a


@elementwise("i", "010001", "vxi", TRUTH._replace(vm="0"))
@elementwise("i", "010001", "vxi", TRUTH._replace(vm="1"))
@generic
def vmadc(a: U, b: U, k: u8) -> bool:
    total = a + b
    return total < a or (k != 0 and total == ~U(0))


@elementwise("i", "010011", "vx", TRUTH._replace(vm="0"))
@elementwise("i", "010011", "vx", TRUTH._replace(vm="1"))
@generic
def vmsbc(a: U, b: U, k: u8) -> bool:
    return a < b or (k != 0 and a == b)


@elementwise("i", "011000", "vxi", TRUTH)
@generic
def vmseq(a: U, b: U) -> bool:
    return a == b


@elementwise("i", "011001", "vxi", TRUTH)
@generic
def vmsne(a: U, b: U) -> bool:
    return a != b


@elementwise("i", "011010", "vx", TRUTH)
@generic
def vmsltu(a: U, b: U) -> bool:
    return a < b


@elementwise("i", "011011", "vx", TRUTH)
@generic
def vmslt(a: U, b: U) -> bool:
    return S(a) < S(b)


@elementwise("i", "011100", "vxi", TRUTH)
@generic
def vmsleu(a: U, b: U) -> bool:
    return a <= b


@elementwise("i", "011101", "vxi", TRUTH)
@generic
def vmsle(a: U, b: U) -> bool:
    return S(a) <= S(b)


@elementwise("i", "011110", "xi", TRUTH)
@generic
def vmsgtu(a: U, b: U) -> bool:
    return a > b


@elementwise("i", "011111", "xi", TRUTH)
@generic
def vmsgt(a: U, b: U) -> bool:
    return S(a) > S(b)


OPS = operations(__name__)
