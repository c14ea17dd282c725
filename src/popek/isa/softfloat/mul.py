"""Multiplication and fused multiply-add (IEEE 754-2019, 5.4.1). Nothing else."""
from popek.isa.hart import Hart
from popek.isa.softfloat.pack import (
    NV,
    canonical_nan,
    exact_zero,
    exponent,
    fold,
    infinity,
    invalid,
    is_infinite,
    is_nan,
    is_signaling,
    is_zero,
    nan_result,
    round_pack,
    sign,
    signed,
    significand,
)
from popek.lang import clz, fn, i64, u32, u64, u128


@fn
def mul(h: Hart, a: u64, b: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """a * b."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        return nan_result(h, a, b, eb, fb)
    negative = sign(a, eb, fb) ^ sign(b, eb, fb)
    if is_infinite(a, eb, fb) or is_infinite(b, eb, fb):
        if is_zero(a, eb, fb) or is_zero(b, eb, fb):
            return invalid(h, eb, fb)
        return signed(negative, infinity(eb, fb), eb, fb)
    if is_zero(a, eb, fb) or is_zero(b, eb, fb):
        return signed(negative, 0, eb, fb)
    product = u128(significand(a, eb, fb)) * u128(significand(b, eb, fb))
    exp = exponent(a, eb, fb) + exponent(b, eb, fb) + 1
    if product >> 127 == 0:
        product = product << 1
        exp -= 1
    return round_pack(h, negative, exp, fold(product), rm, eb, fb)


@fn
def shift_right_sticky_128(value: u128, amount: u64) -> u128:
    """Shift right; whatever is shifted out leaves a 1 in the lowest bit."""
    if amount == 0:
        return value
    if amount > 127:
        return u128(value != 0)
    return value >> amount | u128(value << (128 - amount) != 0)


@fn
def clz_128(value: u128) -> u64:
    """The number of zeros above the highest set bit; `value` is not zero."""
    upper = u64(value >> 64)
    if upper != 0:
        return clz(upper)
    return 64 + clz(u64(value))


@fn
def fma(h: Hart, a: u64, b: u64, c: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """a * b + c, rounded once. Infinity times zero is invalid even when c is a quiet NaN (RISC-V's choice)."""
    zero = is_zero(a, eb, fb) or is_zero(b, eb, fb)
    infinite = is_infinite(a, eb, fb) or is_infinite(b, eb, fb)
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        if is_signaling(c, eb, fb):
            h.fflags |= NV
        return nan_result(h, a, b, eb, fb)
    if zero and infinite:
        return invalid(h, eb, fb)
    if is_nan(c, eb, fb):
        return nan_result(h, c, canonical_nan(eb, fb), eb, fb)
    negative = sign(a, eb, fb) ^ sign(b, eb, fb)
    negative_c = sign(c, eb, fb)
    if infinite:
        if is_infinite(c, eb, fb) and negative != negative_c:
            return invalid(h, eb, fb)
        return signed(negative, infinity(eb, fb), eb, fb)
    if is_infinite(c, eb, fb):
        return c
    if zero:
        if is_zero(c, eb, fb):
            return exact_zero(negative, negative_c, rm, eb, fb)
        return c
    # The exact product, its highest bit at 126: bit 127 is kept free for the carry
    total = u128(significand(a, eb, fb)) * u128(significand(b, eb, fb))
    exp = exponent(a, eb, fb) + exponent(b, eb, fb) + 1
    if total >> 127 == 0:
        exp -= 1
    else:
        total = total >> 1  # the significands of all formats end in zeros
    if not is_zero(c, eb, fb):
        term = u128(significand(c, eb, fb)) << 63
        exp_c = exponent(c, eb, fb)
        if exp < exp_c or (exp == exp_c and total < term):
            total, term = term, total
            exp, exp_c = exp_c, exp
            negative, negative_c = negative_c, negative
        term = shift_right_sticky_128(term, u64(exp - exp_c))
        if negative == negative_c:
            total += term
        else:
            total -= term
        if total == 0:
            return exact_zero(0, 1, rm, eb, fb)
    zeros = clz_128(total)
    return round_pack(h, negative, exp + 1 - i64(zeros), fold(total << zeros), rm, eb, fb)
