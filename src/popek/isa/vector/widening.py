"""Integer arithmetic whose result is twice as wide, or half, and extension. Nothing that saturates.

Unprivileged ISA, "V", "Vector Integer Arithmetic Instructions". Operands as in integer.py.
"""
from __future__ import annotations

from popek.isa.vector.families import NARROWING, WIDE, WIDENING, elementwise, operations
from popek.isa.vector.generic import WS, S, U, W, generic

MULTIPLY_ADD = WIDENING._replace(swapped=True)


@elementwise("m", "110000", "vx", WIDENING)
@generic
def vwaddu(a: U, b: U) -> W:
    return W(a) + W(b)


@elementwise("m", "110001", "vx", WIDENING)
@generic
def vwadd(a: U, b: U) -> W:
    return W(S(a)) + W(S(b))


@elementwise("m", "110010", "vx", WIDENING)
@generic
def vwsubu(a: U, b: U) -> W:
    return W(a) - W(b)


@elementwise("m", "110011", "vx", WIDENING)
@generic
def vwsub(a: U, b: U) -> W:
    return W(S(a)) - W(S(b))


@elementwise("m", "110100", "vx", WIDE)
@generic
def vwaddu_(a: W, b: U) -> W:
    return a + W(b)


@elementwise("m", "110101", "vx", WIDE)
@generic
def vwadd_(a: W, b: U) -> W:
    return a + W(S(b))


@elementwise("m", "110110", "vx", WIDE)
@generic
def vwsubu_(a: W, b: U) -> W:
    return a - W(b)


@elementwise("m", "110111", "vx", WIDE)
@generic
def vwsub_(a: W, b: U) -> W:
    return a - W(S(b))


@elementwise("m", "111000", "vx", WIDENING)
@generic
def vwmulu(a: U, b: U) -> W:
    return W(a) * W(b)


@elementwise("m", "111010", "vx", WIDENING)
@generic
def vwmulsu(a: U, b: U) -> W:
    return W(S(a)) * W(b)


@elementwise("m", "111011", "vx", WIDENING)
@generic
def vwmul(a: U, b: U) -> W:
    return W(WS(S(a)) * WS(S(b)))


@elementwise("m", "111100", "vx", MULTIPLY_ADD)
@generic
def vwmaccu(a: U, b: U, c: W) -> W:
    return W(b) * W(a) + c


@elementwise("m", "111101", "vx", MULTIPLY_ADD)
@generic
def vwmacc(a: U, b: U, c: W) -> W:
    return W(S(b)) * W(S(a)) + c


@elementwise("m", "111110", "x", MULTIPLY_ADD)
@generic
def vwmaccus(a: U, b: U, c: W) -> W:
    return W(b) * W(S(a)) + c


@elementwise("m", "111111", "vx", MULTIPLY_ADD)
@generic
def vwmaccsu(a: U, b: U, c: W) -> W:
    return W(S(b)) * W(a) + c


@elementwise("i", "101100", "vxu", NARROWING)
@generic
def vnsrl(a: W, b: U) -> U:
    return U(a >> W(b))


@elementwise("i", "101101", "vxu", NARROWING)
@generic
def vnsra(a: W, b: U) -> U:
    return U(WS(a) >> W(b))


OPS = operations(__name__)
