"""Conversions between formats and to and from integers (IEEE 754-2019, 5.4.1, 5.4.2). Nothing else.

RISC-V's results of invalid conversions are in the Unprivileged ISA, chapter "F", table "Domains of float-to-integer
conversions and behavior for invalid inputs".
"""
from popek.isa.hart import Hart
from popek.isa.softfloat.pack import (
    NV,
    NX,
    exponent,
    infinity,
    is_infinite,
    is_nan,
    is_zero,
    magnitude,
    nan_result,
    round_pack,
    rounds_up,
    sign,
    signed,
    significand,
)
from popek.lang import clz, fn, i64, u32, u64


@fn
def largest(negative: u64, bits: u32, is_signed: bool) -> u64:
    """The largest magnitude an integer type has on this side of zero."""
    if is_signed:
        return (u64(1) << (bits - 1)) - 1 + negative
    if negative != 0:
        return 0
    return ~u64(0) >> (64 - bits)


@fn
def integer(value: u64, bits: u32) -> u64:
    """An integer as a 64-bit register holds it: 32-bit ones sign-extended, unsigned ones too."""
    shift = 64 - bits
    return u64(i64(value << shift) >> shift)


@fn
def to_integer(h: Hart, a: u64, rm: u32, bits: u32, is_signed: bool, eb: u32, fb: u32) -> u64:
    """a rounded to an integer type of that many bits."""
    if is_nan(a, eb, fb):
        h.fflags |= NV
        return integer(largest(0, bits, is_signed), bits)
    if is_zero(a, eb, fb):
        return 0
    negative = sign(a, eb, fb)
    limit = largest(negative, bits, is_signed)
    value = limit
    fits = False
    rest: u64 = 0
    if not is_infinite(a, eb, fb):
        sig = significand(a, eb, fb)
        below = 63 - exponent(a, eb, fb)  # how many bits of the significand are below the point
        fits = True
        if below < 0:
            fits = False
        elif below == 0:
            value = sig
        else:
            half: u64 = 2
            value = 0
            rest = 1
            if below < 64:
                half = u64(1) << u64(below - 1)
                rest = sig & (half * 2 - 1)
                value = sig >> u64(below)
            elif below == 64:
                half = u64(1) << 63
                rest = sig
            if rounds_up(negative, value & 1, rest, half, rm):
                value += 1
    if not fits or value > limit:
        h.fflags |= NV
        value = limit
    elif rest != 0:
        h.fflags |= NX
    if negative != 0:
        value = -value
    return integer(value, bits)


@fn
def to_word_modulo(h: Hart, a: u64, eb: u32, fb: u32) -> u64:
    """a rounded towards zero, modulo 2**32, sign-extended. The flags are those of to_integer for 32 bits."""
    if is_nan(a, eb, fb) or is_infinite(a, eb, fb):
        h.fflags |= NV
        return 0
    if is_zero(a, eb, fb):
        return 0
    sig = significand(a, eb, fb)
    below = 63 - exponent(a, eb, fb)
    negative = sign(a, eb, fb)
    value: u64 = 0
    rest: u64 = 1
    if below <= 0:
        if below > -64:
            value = sig << u64(-below)
        h.fflags |= NV
    else:
        if below < 64:
            value = sig >> u64(below)
            rest = sig << u64(64 - below)
        if value > 0x7FFFFFFF + negative:
            h.fflags |= NV
        elif rest != 0:
            h.fflags |= NX
    if negative != 0:
        value = -value
    return integer(value, 32)


@fn
def round_integral(h: Hart, a: u64, rm: u32, inexact: bool, eb: u32, fb: u32) -> u64:
    """a rounded to an integer in its own format (IEEE 754-2019, 5.3.1, 5.9); `inexact`: tell when that changed it."""
    if is_nan(a, eb, fb):
        return nan_result(h, a, a, eb, fb)
    size = magnitude(a, eb, fb)
    field = size >> fb
    bias = (u64(1) << (eb - 1)) - 1
    if size == 0 or field >= bias + u64(fb):
        return a
    negative = sign(a, eb, fb)
    # Bits order like the numbers: what is cut off, its half, and one unit of the last place that stays, are bits
    rest = size
    half = bias - 1 << fb
    unit = bias << fb
    odd: u64 = 0
    if field >= bias:
        unit = u64(1) << (bias + u64(fb) - field)
        half = unit >> 1
        rest = size & (unit - 1)
        odd = u64(size & unit != 0)     # the last place of 1 is in the exponent field, which is odd there, too
    size -= rest
    if rest != 0:
        if inexact:
            h.fflags |= NX
        if rounds_up(negative, odd, rest, half, rm):
            size += unit
    return signed(negative, size, eb, fb)


@fn
def from_unsigned(h: Hart, negative: u64, value: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """The number with that magnitude and sign."""
    if value == 0:
        return 0
    zeros = clz(value)
    return round_pack(h, negative, 63 - i64(zeros), value << zeros, rm, eb, fb)


@fn
def from_integer(h: Hart, value: u64, rm: u32, is_signed: bool, eb: u32, fb: u32) -> u64:
    """The number nearest to a 64-bit integer."""
    if is_signed and value >> 63 != 0:
        return from_unsigned(h, 1, -value, rm, eb, fb)
    return from_unsigned(h, 0, value, rm, eb, fb)


@fn
def convert(h: Hart, a: u64, rm: u32, eb: u32, fb: u32, to_eb: u32, to_fb: u32) -> u64:
    """a in another format."""
    negative = sign(a, eb, fb)
    if is_nan(a, eb, fb):
        nan_result(h, a, a, eb, fb)
        return infinity(to_eb, to_fb) | u64(1) << (to_fb - 1)
    if is_infinite(a, eb, fb):
        return signed(negative, infinity(to_eb, to_fb), to_eb, to_fb)
    if is_zero(a, eb, fb):
        return signed(negative, 0, to_eb, to_fb)
    return round_pack(h, negative, exponent(a, eb, fb), significand(a, eb, fb), rm, to_eb, to_fb)
