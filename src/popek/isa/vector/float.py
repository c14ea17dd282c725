"""Floating-point arithmetic, comparison and conversion. Unprivileged ISA, "V", "Vector Floating-Point Instructions".

Operands as in integer.py; elements of 32 and 64 bits. All take the hart, because of its flags.
"""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

from popek.isa import fp
from popek.isa.hart import Hart
from popek.isa.vector.estimate import reciprocal, reciprocal_root
from popek.isa.vector.families import SINGLE, TRUTH, WIDE, WIDENING, elementwise, operations, unary
from popek.isa.vector.generic import BITS, U, W, choice, generic
from popek.lang import u8, u32, u64

MULTIPLY_ADD = SINGLE._replace(swapped=True)
WIDENING_MULTIPLY_ADD = WIDENING._replace(swapped=True)


def both(name: str) -> Callable[..., Any]:
    """The arithmetic of fp.py for an element's format."""
    return choice({bits: getattr(fp, f"f{bits}_{name}") for bits in (32, 64)})


f_add, f_sub, f_mul, f_div = both("add"), both("sub"), both("mul"), both("div")
f_sqrt, f_fma, f_min, f_max = both("sqrt"), both("fma"), both("min"), both("max")
f_eq, f_lt, f_le, f_classify = both("eq"), both("lt"), both("le"), both("classify")
f_from_i64, f_from_u64, f_to_i64, f_to_u64 = both("from_i64"), both("from_u64"), both("to_i64"), both("to_u64")
f_to_i32, f_to_u32 = both("to_i32"), both("to_u32")
f32_to_f64, f64_add, f64_sub, f64_mul, f64_fma = fp.f32_to_f64, fp.f64_add, fp.f64_sub, fp.f64_mul, fp.f64_fma


@generic
def minus(a: U) -> u64:
    """-a, as an operand."""
    return u64(a ^ U(1) << U(BITS - 1))


@elementwise("f", "000000", "vf", host="fadd a b")
@generic
def vfadd(h: Hart, a: U, b: U, rm: u32) -> U:
    return U(f_add(h, u64(a), u64(b), rm))


@elementwise("f", "000010", "vf", host="fsub a b")
@generic
def vfsub(h: Hart, a: U, b: U, rm: u32) -> U:
    return U(f_sub(h, u64(a), u64(b), rm))


@elementwise("f", "100111", "f", host="fsub b a")
@generic
def vfrsub(h: Hart, a: U, b: U, rm: u32) -> U:
    return U(f_sub(h, u64(b), u64(a), rm))


@elementwise("f", "100100", "vf", host="fmul a b")
@generic
def vfmul(h: Hart, a: U, b: U, rm: u32) -> U:
    return U(f_mul(h, u64(a), u64(b), rm))


@elementwise("f", "100000", "vf", host="fdiv a b")
@generic
def vfdiv(h: Hart, a: U, b: U, rm: u32) -> U:
    return U(f_div(h, u64(a), u64(b), rm))


@elementwise("f", "100001", "f", host="fdiv b a")
@generic
def vfrdiv(h: Hart, a: U, b: U, rm: u32) -> U:
    return U(f_div(h, u64(b), u64(a), rm))


@elementwise("f", "101100", "vf", MULTIPLY_ADD, host="fma b a c")
@generic
def vfmacc(h: Hart, a: U, b: U, c: U, rm: u32) -> U:
    return U(f_fma(h, u64(b), u64(a), u64(c), rm))


@elementwise("f", "101101", "vf", MULTIPLY_ADD, host="fma -b a -c")
@generic
def vfnmacc(h: Hart, a: U, b: U, c: U, rm: u32) -> U:
    return U(f_fma(h, minus(b), u64(a), minus(c), rm))


@elementwise("f", "101110", "vf", MULTIPLY_ADD, host="fma b a -c")
@generic
def vfmsac(h: Hart, a: U, b: U, c: U, rm: u32) -> U:
    return U(f_fma(h, u64(b), u64(a), minus(c), rm))


@elementwise("f", "101111", "vf", MULTIPLY_ADD, host="fma -b a c")
@generic
def vfnmsac(h: Hart, a: U, b: U, c: U, rm: u32) -> U:
    return U(f_fma(h, minus(b), u64(a), u64(c), rm))


@elementwise("f", "101000", "vf", MULTIPLY_ADD, host="fma b c a")
@generic
def vfmadd(h: Hart, a: U, b: U, c: U, rm: u32) -> U:
    return U(f_fma(h, u64(b), u64(c), u64(a), rm))


@elementwise("f", "101001", "vf", MULTIPLY_ADD, host="fma -b c -a")
@generic
def vfnmadd(h: Hart, a: U, b: U, c: U, rm: u32) -> U:
    return U(f_fma(h, minus(b), u64(c), minus(a), rm))


@elementwise("f", "101010", "vf", MULTIPLY_ADD, host="fma b c -a")
@generic
def vfmsub(h: Hart, a: U, b: U, c: U, rm: u32) -> U:
    return U(f_fma(h, u64(b), u64(c), minus(a), rm))


@elementwise("f", "101011", "vf", MULTIPLY_ADD, host="fma -b c a")
@generic
def vfnmsub(h: Hart, a: U, b: U, c: U, rm: u32) -> U:
    return U(f_fma(h, minus(b), u64(c), u64(a), rm))


@elementwise("f", "000100", "vf", host="min a b")
@generic
def vfmin(h: Hart, a: U, b: U) -> U:
    return U(f_min(h, u64(a), u64(b)))


@elementwise("f", "000110", "vf", host="max a b")
@generic
def vfmax(h: Hart, a: U, b: U) -> U:
    return U(f_max(h, u64(a), u64(b)))


@elementwise("f", "001000", "vf")
@generic
def vfsgnj(a: U, b: U) -> U:
    return a << U(1) >> U(1) | b & U(1) << U(BITS - 1)


@elementwise("f", "001001", "vf")
@generic
def vfsgnjn(a: U, b: U) -> U:
    return a << U(1) >> U(1) | ~b & U(1) << U(BITS - 1)


@elementwise("f", "001010", "vf")
@generic
def vfsgnjx(a: U, b: U) -> U:
    return a ^ b & U(1) << U(BITS - 1)


@elementwise("f", "011000", "vf", TRUTH, host="fcmp.oeq a b")
@generic
def vmfeq(h: Hart, a: U, b: U) -> bool:
    return f_eq(h, u64(a), u64(b))


@elementwise("f", "011100", "vf", TRUTH, host="fcmp.une a b")
@generic
def vmfne(h: Hart, a: U, b: U) -> bool:
    return not f_eq(h, u64(a), u64(b))


@elementwise("f", "011001", "vf", TRUTH, host="fcmps.ole a b")
@generic
def vmfle(h: Hart, a: U, b: U) -> bool:
    return f_le(h, u64(a), u64(b))


@elementwise("f", "011011", "vf", TRUTH, host="fcmps.olt a b")
@generic
def vmflt(h: Hart, a: U, b: U) -> bool:
    return f_lt(h, u64(a), u64(b))


@elementwise("f", "011101", "f", TRUTH, host="fcmps.olt b a")
@generic
def vmfgt(h: Hart, a: U, b: U) -> bool:
    return f_lt(h, u64(b), u64(a))


@elementwise("f", "011111", "f", TRUTH, host="fcmps.ole b a")
@generic
def vmfge(h: Hart, a: U, b: U) -> bool:
    return f_le(h, u64(b), u64(a))


@elementwise("f", "010111", "f", SINGLE._replace(vm="0"))
@generic
def vfmerge(a: U, b: U, k: u8) -> U:
    return b if k != 0 else a


@unary("f", "010011", "00000", "vfsqrt.v", host="sqrt a")
@generic
def vfsqrt(h: Hart, a: U, rm: u32) -> U:
    return U(f_sqrt(h, u64(a), rm))


@unary("f", "010011", "00100", "vfrsqrt7.v")
@generic
def vfrsqrt7(h: Hart, a: U) -> U:
    return U(reciprocal_root(h, u64(a), u32(BITS)))


@unary("f", "010011", "00101", "vfrec7.v")
@generic
def vfrec7(h: Hart, a: U, rm: u32) -> U:
    return U(reciprocal(h, u64(a), rm, u32(BITS)))


@unary("f", "010011", "10000", "vfclass.v")
@generic
def vfclass(a: U) -> U:
    return U(f_classify(u64(a)))


@elementwise("f", "110000", "vf", WIDENING, host="fadd a b")
@generic
def vfwadd(h: Hart, a: U, b: U, rm: u32) -> W:
    return f64_add(h, f32_to_f64(h, u64(a), rm), f32_to_f64(h, u64(b), rm), rm)


@elementwise("f", "110010", "vf", WIDENING, host="fsub a b")
@generic
def vfwsub(h: Hart, a: U, b: U, rm: u32) -> W:
    return f64_sub(h, f32_to_f64(h, u64(a), rm), f32_to_f64(h, u64(b), rm), rm)


@elementwise("f", "110100", "vf", WIDE, host="fadd a b")
@generic
def vfwadd_(h: Hart, a: W, b: U, rm: u32) -> W:
    return f64_add(h, a, f32_to_f64(h, u64(b), rm), rm)


@elementwise("f", "110110", "vf", WIDE, host="fsub a b")
@generic
def vfwsub_(h: Hart, a: W, b: U, rm: u32) -> W:
    return f64_sub(h, a, f32_to_f64(h, u64(b), rm), rm)


@elementwise("f", "111000", "vf", WIDENING, host="fmul a b")
@generic
def vfwmul(h: Hart, a: U, b: U, rm: u32) -> W:
    return f64_mul(h, f32_to_f64(h, u64(a), rm), f32_to_f64(h, u64(b), rm), rm)


@elementwise("f", "111100", "vf", WIDENING_MULTIPLY_ADD, host="fma b a c")
@generic
def vfwmacc(h: Hart, a: U, b: U, c: W, rm: u32) -> W:
    return f64_fma(h, f32_to_f64(h, u64(b), rm), f32_to_f64(h, u64(a), rm), c, rm)


@elementwise("f", "111101", "vf", WIDENING_MULTIPLY_ADD, host="fma -b a -c")
@generic
def vfwnmacc(h: Hart, a: U, b: U, c: W, rm: u32) -> W:
    return f64_fma(h, f32_to_f64(h, minus(b), rm), f32_to_f64(h, u64(a), rm), c ^ fp.SIGN_64, rm)


@elementwise("f", "111110", "vf", WIDENING_MULTIPLY_ADD, host="fma b a -c")
@generic
def vfwmsac(h: Hart, a: U, b: U, c: W, rm: u32) -> W:
    return f64_fma(h, f32_to_f64(h, u64(b), rm), f32_to_f64(h, u64(a), rm), c ^ fp.SIGN_64, rm)


@elementwise("f", "111111", "vf", WIDENING_MULTIPLY_ADD, host="fma -b a c")
@generic
def vfwnmsac(h: Hart, a: U, b: U, c: W, rm: u32) -> W:
    return f64_fma(h, f32_to_f64(h, minus(b), rm), f32_to_f64(h, u64(a), rm), c, rm)


OPS = operations(__name__)
