"""Addition and subtraction (IEEE 754-2019, 5.4.1). Nothing else."""
from popek.isa.hart import Hart
from popek.isa.softfloat.pack import (
    exact_zero,
    exponent,
    invalid,
    is_infinite,
    is_nan,
    is_zero,
    magnitude,
    nan_result,
    round_pack,
    shift_right_sticky,
    sign,
    sign_bit,
    significand,
)
from popek.lang import clz, fn, i64, u32, u64


@fn
def add(h: Hart, a: u64, b: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """a + b."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        return nan_result(h, a, b, eb, fb)
    if is_infinite(a, eb, fb):
        if is_infinite(b, eb, fb) and a != b:
            return invalid(h, eb, fb)
        return a
    if is_infinite(b, eb, fb):
        return b
    if is_zero(a, eb, fb) and is_zero(b, eb, fb):
        return exact_zero(sign(a, eb, fb), sign(b, eb, fb), rm, eb, fb)
    if is_zero(a, eb, fb):
        return b
    if is_zero(b, eb, fb):
        return a
    larger, smaller = a, b
    if magnitude(a, eb, fb) < magnitude(b, eb, fb):
        larger, smaller = b, a
    negative = sign(larger, eb, fb)
    exp = exponent(larger, eb, fb)
    # Bit 63 is kept free for the carry; the bits below the formats' precision are guard bits
    total = significand(larger, eb, fb) >> 1
    term = shift_right_sticky(significand(smaller, eb, fb) >> 1, u64(exp - exponent(smaller, eb, fb)))
    if negative == sign(smaller, eb, fb):
        total += term
    else:
        total -= term
    if total == 0:
        return exact_zero(0, 1, rm, eb, fb)
    zeros = clz(total)
    return round_pack(h, negative, exp + 1 - i64(zeros), total << zeros, rm, eb, fb)


@fn
def sub(h: Hart, a: u64, b: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """a - b."""
    if is_nan(b, eb, fb):
        return nan_result(h, a, b, eb, fb)
    return add(h, a, b ^ sign_bit(eb, fb), rm, eb, fb)
