"""The estimates to seven bits of vfrec7.v and vfrsqrt7.v. No instruction here.

Unprivileged ISA, "V", "Vector Floating-Point Reciprocal (Square-Root) Estimate Instruction". The tables printed there
hold the rounded reciprocal (of the root) of the middle of the interval that an index stands for.
"""
from __future__ import annotations

from math import sqrt

from popek.isa.hart import Hart
from popek.isa.softfloat.pack import (
    DZ,
    infinity,
    invalid,
    is_infinite,
    is_nan,
    is_zero,
    magnitude,
    nan_result,
    overflow,
    sign,
    signed,
)
from popek.lang import clz, fn, i64, table, u8, u32, u64

_RECIPROCAL = table(u8, [round((1 << 15) / (128 + i + 0.5)) - 128 for i in range(128)])
_ROOT = table(u8, [round(256 / sqrt((64 + i % 64 + 0.5) / (32 if i < 64 else 64))) - 128 for i in range(128)])


@fn(inline=True)
def fraction_bits(bits: u32) -> u32:
    """Of the format with that many bits."""
    return u32(52) if bits == 64 else u32(23)


@fn
def normal_exponent(a: u64, eb: u32, fb: u32) -> i64:
    """The normalized input exponent: the field, or 0 minus the number of leading zeros in the significand."""
    field = magnitude(a, eb, fb) >> fb
    if field != 0:
        return i64(field)
    return i64(64 - u64(fb)) - i64(clz(a & (u64(1) << fb) - 1))


@fn
def normal_significand(a: u64, exponent: i64, fb: u32) -> u64:
    """The normalized input significand, without its leading one."""
    fraction = a & (u64(1) << fb) - 1
    return fraction << u64(1 - exponent) & (u64(1) << fb) - 1 if exponent <= 0 else fraction


@fn
def reciprocal(h: Hart, a: u64, rm: u32, bits: u32) -> u64:
    """vfrec7"""
    fb = fraction_bits(bits)
    eb = bits - fb - 1
    negative = sign(a, eb, fb)
    if is_nan(a, eb, fb):
        return nan_result(h, a, a, eb, fb)
    if is_infinite(a, eb, fb):
        return signed(negative, 0, eb, fb)
    if is_zero(a, eb, fb):
        h.fflags |= DZ
        return signed(negative, infinity(eb, fb), eb, fb)
    exponent = normal_exponent(a, eb, fb)
    twice_bias = (i64(1) << eb) - 2
    result = twice_bias - 1 - exponent
    if result > twice_bias:
        return overflow(h, negative, rm, eb, fb)
    significand = u64(_RECIPROCAL[normal_significand(a, exponent, fb) >> (fb - 7)]) << (fb - 7)
    if result <= 0:
        return signed(negative, (significand | u64(1) << fb) >> u64(1 - result), eb, fb)
    return signed(negative, u64(result) << fb | significand, eb, fb)


@fn
def reciprocal_root(h: Hart, a: u64, bits: u32) -> u64:
    """vfrsqrt7"""
    fb = fraction_bits(bits)
    eb = bits - fb - 1
    if is_nan(a, eb, fb):
        return nan_result(h, a, a, eb, fb)
    if is_zero(a, eb, fb):
        h.fflags |= DZ
        return signed(sign(a, eb, fb), infinity(eb, fb), eb, fb)
    if sign(a, eb, fb) != 0:
        return invalid(h, eb, fb)
    if is_infinite(a, eb, fb):
        return 0
    exponent = normal_exponent(a, eb, fb)
    bias = (i64(1) << (eb - 1)) - 1
    index = (u64(exponent) & 1) << 6 | normal_significand(a, exponent, fb) >> (fb - 6)
    return u64(3 * bias - 1 - exponent >> 1) << fb | u64(_ROOT[index]) << (fb - 7)
