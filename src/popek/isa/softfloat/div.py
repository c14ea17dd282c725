"""Division and square root (IEEE 754-2019, 5.4.1), and the integer division and root below them. Nothing else."""
from popek.isa.hart import Hart
from popek.isa.softfloat.pack import (
    DZ,
    exponent,
    infinity,
    invalid,
    is_infinite,
    is_nan,
    is_zero,
    nan_result,
    round_pack,
    sign,
    signed,
    significand,
)
from popek.lang import fn, u32, u64, u128

LOW = 0xFFFFFFFF


@fn
def quotient_digit(rest: u64, below: u64, divisor: u64) -> u64:
    """The 32-bit digit floor((rest * 2**32 + below) / divisor); rest < divisor, whose bit 63 is set, below < 2**32.

    Knuth, The Art of Computer Programming 2, 4.3.1: the estimate from the divisor's upper half is at most 2 too large.
    """
    upper = divisor >> 32
    digit = rest // upper
    if digit > LOW:
        digit = LOW
    left = rest - digit * upper
    while left <= LOW and digit * (divisor & LOW) > (left << 32 | below):
        digit -= 1
        left += upper
    return digit


@fn
def divide_sticky(upper: u64, lower: u64, divisor: u64) -> u64:
    """floor(numerator / divisor) of 128 bits by 64, upper < divisor; a remainder leaves a 1 in the lowest bit."""
    first = quotient_digit(upper, lower >> 32, divisor)
    rest = (upper << 32 | lower >> 32) - first * divisor
    second = quotient_digit(rest, lower & LOW, divisor)
    rest = (rest << 32 | lower & LOW) - second * divisor
    return first << 32 | second | u64(rest != 0)


@fn
def div(h: Hart, a: u64, b: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """a / b."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        return nan_result(h, a, b, eb, fb)
    negative = sign(a, eb, fb) ^ sign(b, eb, fb)
    if is_infinite(a, eb, fb):
        if is_infinite(b, eb, fb):
            return invalid(h, eb, fb)
        return signed(negative, infinity(eb, fb), eb, fb)
    if is_infinite(b, eb, fb):
        return signed(negative, 0, eb, fb)
    if is_zero(b, eb, fb):
        if is_zero(a, eb, fb):
            return invalid(h, eb, fb)
        h.fflags |= DZ
        return signed(negative, infinity(eb, fb), eb, fb)
    if is_zero(a, eb, fb):
        return signed(negative, 0, eb, fb)
    exp = exponent(a, eb, fb) - exponent(b, eb, fb)
    numerator, divisor = significand(a, eb, fb), significand(b, eb, fb)
    if numerator < divisor:
        return round_pack(h, negative, exp - 1, divide_sticky(numerator, 0, divisor), rm, eb, fb)
    return round_pack(h, negative, exp, divide_sticky(numerator >> 1, numerator << 63, divisor), rm, eb, fb)


@fn
def root_32(value: u64) -> u64:
    """floor(sqrt(value)) of a number below 2**32, bit by bit."""
    root: u64 = 0
    bit: u64 = 1 << 15
    while bit != 0:
        if (root | bit) * (root | bit) <= value:
            root |= bit
        bit = bit >> 1
    return root


@fn
def root_64(value: u64) -> u64:
    """floor(sqrt(value)) of a number of at least 2**62.

    Zimmermann, Karatsuba Square Root (INRIA RR-3805): the root of the upper half gives the lower half by one division.
    """
    upper = root_32(value >> 32)
    rest = (value >> 32) - upper * upper
    lower = (rest << 15 | value >> 17 & 0x7FFF) // upper
    if lower > 0xFFFF:
        lower = 0xFFFF
    root = upper << 16 | lower
    while root * root > value:
        root -= 1
    return root


@fn
def root_128_sticky(value: u128) -> u64:
    """floor(sqrt(value)) of a number of at least 2**126; a remainder leaves a 1 in the lowest bit. See root_64."""
    half = u64(value >> 64)
    upper = root_64(half)
    rest = half - upper * upper
    lower = (rest << 31 | u64(value) >> 33) // upper
    if lower > LOW:
        lower = LOW
    root = upper << 32 | lower
    while u128(root) * u128(root) > value:
        root -= 1
    return root | u64(u128(root) * u128(root) != value)


@fn
def sqrt(h: Hart, a: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """The square root of a."""
    if is_nan(a, eb, fb):
        return nan_result(h, a, a, eb, fb)
    if is_zero(a, eb, fb):
        return a
    if sign(a, eb, fb) != 0:
        return invalid(h, eb, fb)
    if is_infinite(a, eb, fb):
        return a
    exp = exponent(a, eb, fb)
    square = u128(significand(a, eb, fb)) << (63 + u64(exp & 1))
    return round_pack(h, 0, exp >> 1, root_128_sticky(square), rm, eb, fb)
