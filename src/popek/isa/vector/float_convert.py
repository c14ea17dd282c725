"""Conversions between floating point and integers, and between formats. Unprivileged ISA, "V", "... Type-Convert ...".

`a` is an element of vs2. The integers of narrowing conversions may have 16 bits, which the scalar arithmetic lacks.
"""
from __future__ import annotations

from popek.isa import fp
from popek.isa.hart import Hart
from popek.isa.softfloat.convert import to_integer
from popek.isa.vector.families import NARROWING, SINGLE, WIDENING, operations, unary
from popek.isa.vector.float import both
from popek.isa.vector.generic import S, U, W, choice, generic
from popek.lang import fn, u32, u64

TO_ZERO = 1                # the rounding mode RTZ
GREATEST = 0x7F7FFFFF      # the greatest finite binary32 number


@fn
def f32_to_i16(h: Hart, a: u64, rm: u32) -> u64:
    return to_integer(h, a, rm, 16, True, 8, 23)


@fn
def f32_to_u16(h: Hart, a: u64, rm: u32) -> u64:
    return to_integer(h, a, rm, 16, False, 8, 23)


f_from_i64, f_from_u64 = both("from_i64"), both("from_u64")
#: To an integer of the number's width, of twice that and of half of it; by SEW.
to_signed = choice({32: fp.f32_to_i32, 64: fp.f64_to_i64})
to_unsigned = choice({32: fp.f32_to_u32, 64: fp.f64_to_u64})
to_narrow_signed = choice({16: f32_to_i16, 32: fp.f64_to_i32})
to_narrow_unsigned = choice({16: f32_to_u16, 32: fp.f64_to_u32})
#: From an integer of half a number's width; by SEW.
from_narrow_signed = choice({16: fp.f32_from_i64, 32: fp.f64_from_i64})

WIDENING_NUMBER = WIDENING._replace(floats=(32,))
WIDENING_INTEGER = WIDENING._replace(floats=(16, 32))
NARROWING_NUMBER = NARROWING._replace(floats=(16, 32))
NARROWING_INTEGER = NARROWING._replace(floats=(32,))


@unary("f", "010010", "00000", "vfcvt.xu.f.v", SINGLE)
@generic
def vfcvt_xu_f(h: Hart, a: U, rm: u32) -> U:
    return U(to_unsigned(h, u64(a), rm))


@unary("f", "010010", "00001", "vfcvt.x.f.v", SINGLE)
@generic
def vfcvt_x_f(h: Hart, a: U, rm: u32) -> U:
    return U(to_signed(h, u64(a), rm))


@unary("f", "010010", "00010", "vfcvt.f.xu.v", SINGLE)
@generic
def vfcvt_f_xu(h: Hart, a: U, rm: u32) -> U:
    return U(f_from_u64(h, u64(a), rm))


@unary("f", "010010", "00011", "vfcvt.f.x.v", SINGLE, host="sitofp a")
@generic
def vfcvt_f_x(h: Hart, a: U, rm: u32) -> U:
    return U(f_from_i64(h, u64(S(a)), rm))


@unary("f", "010010", "00110", "vfcvt.rtz.xu.f.v", SINGLE)
@generic
def vfcvt_rtz_xu_f(h: Hart, a: U) -> U:
    return U(to_unsigned(h, u64(a), u32(TO_ZERO)))


@unary("f", "010010", "00111", "vfcvt.rtz.x.f.v", SINGLE, host="fptosi a")
@generic
def vfcvt_rtz_x_f(h: Hart, a: U) -> U:
    return U(to_signed(h, u64(a), u32(TO_ZERO)))


@unary("f", "010010", "01000", "vfwcvt.xu.f.v", WIDENING_NUMBER)
@generic
def vfwcvt_xu_f(h: Hart, a: U, rm: u32) -> W:
    return fp.f32_to_u64(h, u64(a), rm)


@unary("f", "010010", "01001", "vfwcvt.x.f.v", WIDENING_NUMBER)
@generic
def vfwcvt_x_f(h: Hart, a: U, rm: u32) -> W:
    return fp.f32_to_i64(h, u64(a), rm)


@unary("f", "010010", "01010", "vfwcvt.f.xu.v", WIDENING_INTEGER)
@generic
def vfwcvt_f_xu(h: Hart, a: U, rm: u32) -> W:
    return W(from_narrow_signed(h, u64(a), rm))


@unary("f", "010010", "01011", "vfwcvt.f.x.v", WIDENING_INTEGER)
@generic
def vfwcvt_f_x(h: Hart, a: U, rm: u32) -> W:
    return W(from_narrow_signed(h, u64(S(a)), rm))


@unary("f", "010010", "01100", "vfwcvt.f.f.v", WIDENING_NUMBER, host="format a")
@generic
def vfwcvt_f_f(h: Hart, a: U, rm: u32) -> W:
    return fp.f32_to_f64(h, u64(a), rm)


@unary("f", "010010", "01110", "vfwcvt.rtz.xu.f.v", WIDENING_NUMBER)
@generic
def vfwcvt_rtz_xu_f(h: Hart, a: U) -> W:
    return fp.f32_to_u64(h, u64(a), u32(TO_ZERO))


@unary("f", "010010", "01111", "vfwcvt.rtz.x.f.v", WIDENING_NUMBER)
@generic
def vfwcvt_rtz_x_f(h: Hart, a: U) -> W:
    return fp.f32_to_i64(h, u64(a), u32(TO_ZERO))


@unary("f", "010010", "10000", "vfncvt.xu.f.w", NARROWING_NUMBER)
@generic
def vfncvt_xu_f(h: Hart, a: W, rm: u32) -> U:
    return U(to_narrow_unsigned(h, u64(a), rm))


@unary("f", "010010", "10001", "vfncvt.x.f.w", NARROWING_NUMBER)
@generic
def vfncvt_x_f(h: Hart, a: W, rm: u32) -> U:
    return U(to_narrow_signed(h, u64(a), rm))


@unary("f", "010010", "10010", "vfncvt.f.xu.w", NARROWING_INTEGER)
@generic
def vfncvt_f_xu(h: Hart, a: W, rm: u32) -> U:
    return U(fp.f32_from_u64(h, a, rm))


@unary("f", "010010", "10011", "vfncvt.f.x.w", NARROWING_INTEGER)
@generic
def vfncvt_f_x(h: Hart, a: W, rm: u32) -> U:
    return U(fp.f32_from_i64(h, a, rm))


@unary("f", "010010", "10100", "vfncvt.f.f.w", NARROWING_INTEGER, host="format a")
@generic
def vfncvt_f_f(h: Hart, a: W, rm: u32) -> U:
    return U(fp.f64_to_f32(h, a, rm))


@unary("f", "010010", "10101", "vfncvt.rod.f.f.w", NARROWING_INTEGER)
@generic
def vfncvt_rod_f_f(h: Hart, a: W) -> U:
    """Round to odd: what is not exact becomes the neighbour whose last place is 1."""
    near = fp.f64_to_f32(h, a, u32(TO_ZERO))
    lost = a & fp.BODY_64 <= 0x7FF << 52 and fp.f32_to_f64(h, near, u32(TO_ZERO)) != a
    return U(near | u64(lost))


@unary("f", "010010", "10110", "vfncvt.rtz.xu.f.w", NARROWING_NUMBER)
@generic
def vfncvt_rtz_xu_f(h: Hart, a: W) -> U:
    return U(to_narrow_unsigned(h, u64(a), u32(TO_ZERO)))


@unary("f", "010010", "10111", "vfncvt.rtz.x.f.w", NARROWING_NUMBER)
@generic
def vfncvt_rtz_x_f(h: Hart, a: W) -> U:
    return U(to_narrow_signed(h, u64(a), u32(TO_ZERO)))


OPS = operations(__name__)
