"""Taking IEEE 754 numbers apart, and rounding a result into its format. No arithmetic operation lives here."""
from popek.isa.hart import Hart
from popek.lang import clz, fn, i64, u32, u64, u128, unlikely

F32_EXPONENT, F32_FRACTION = 8, 23
F64_EXPONENT, F64_FRACTION = 11, 52

#: Rounding modes (Unprivileged ISA, chapter "F", table "Rounding mode encoding").
RNE, RTZ, RDN, RUP, RMM = 0, 1, 2, 3, 4
#: Accrued exception flags (same chapter, table "Accrued exception flag encoding").
NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16


@fn(inline=True)
def infinity(eb: u32, fb: u32) -> u64:
    """The bits of plus infinity: also the mask of the exponent field, and the least magnitude that is no number."""
    return ((u64(1) << eb) - 1) << fb


@fn(inline=True)
def canonical_nan(eb: u32, fb: u32) -> u64:
    """The quiet NaN that every operation producing a NaN produces."""
    return infinity(eb, fb) | u64(1) << (fb - 1)


@fn(inline=True)
def sign_bit(eb: u32, fb: u32) -> u64:
    """The mask of the sign."""
    return u64(1) << (eb + fb)


@fn(inline=True)
def sign(a: u64, eb: u32, fb: u32) -> u64:
    """1 for a negative number, else 0."""
    return a >> (eb + fb) & 1


@fn(inline=True)
def magnitude(a: u64, eb: u32, fb: u32) -> u64:
    """The bits without the sign. They order like the magnitudes they stand for."""
    return a & (sign_bit(eb, fb) - 1)


@fn(inline=True)
def signed(negative: u64, bits: u64, eb: u32, fb: u32) -> u64:
    """A magnitude with a sign (1 is minus)."""
    return bits | negative << (eb + fb)


@fn(inline=True)
def is_nan(a: u64, eb: u32, fb: u32) -> bool:
    """A NaN of either kind?"""
    return magnitude(a, eb, fb) > infinity(eb, fb)


@fn(inline=True)
def is_signaling(a: u64, eb: u32, fb: u32) -> bool:
    """A NaN whose quiet bit, the fraction's highest, is clear (IEEE 754-2019, 6.2.1)?"""
    return is_nan(a, eb, fb) and (a >> (fb - 1) & 1) == 0


@fn(inline=True)
def is_infinite(a: u64, eb: u32, fb: u32) -> bool:
    """An infinity of either sign?"""
    return magnitude(a, eb, fb) == infinity(eb, fb)


@fn(inline=True)
def is_zero(a: u64, eb: u32, fb: u32) -> bool:
    """A zero of either sign?"""
    return magnitude(a, eb, fb) == 0


@fn
def exponent(a: u64, eb: u32, fb: u32) -> i64:
    """The exponent of a finite nonzero number; see the package's caption for what it scales."""
    fraction = a & ((u64(1) << fb) - 1)
    field = i64(a >> fb & ((u64(1) << eb) - 1))
    bias = (i64(1) << (eb - 1)) - 1
    if field == 0:
        return 64 - bias - i64(fb) - i64(clz(fraction))
    return field - bias


@fn
def significand(a: u64, eb: u32, fb: u32) -> u64:
    """The significand of a finite nonzero number, bit 63 set."""
    fraction = a & ((u64(1) << fb) - 1)
    if (a >> fb & ((u64(1) << eb) - 1)) == 0:
        return fraction << clz(fraction)
    return (fraction | u64(1) << fb) << (63 - fb)


@fn
def shift_right_sticky(value: u64, amount: u64) -> u64:
    """Shift right; whatever is shifted out leaves a 1 in the lowest bit, so that rounding still knows of it."""
    if amount == 0:
        return value
    if amount > 63:
        return u64(value != 0)
    return value >> amount | u64(value << (64 - amount) != 0)


@fn
def fold(value: u128) -> u64:
    """The upper half; a nonzero lower half leaves a 1 in the lowest bit."""
    return u64(value >> 64) | u64(u64(value) != 0)


@fn
def rounds_up(negative: u64, odd: u64, rest: u64, half: u64, rm: u32) -> bool:
    """Does a magnitude move away from zero, `rest` having been cut off below its last place (IEEE 754-2019, 4.3)?"""
    if rm == RNE:
        return rest > half or (rest == half and odd != 0)
    if rm == RMM:
        return rest >= half
    if rm == RDN:
        return negative != 0 and rest != 0
    if rm == RUP:
        return negative == 0 and rest != 0
    return False


@fn
def invalid(h: Hart, eb: u32, fb: u32) -> u64:
    """The result of an invalid operation (IEEE 754-2019, 7.2)."""
    h.fflags |= NV
    return canonical_nan(eb, fb)


@fn
def nan_result(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> u64:
    """The result of an operation with a NaN among its operands."""
    if is_signaling(a, eb, fb) or is_signaling(b, eb, fb):
        h.fflags |= NV
    return canonical_nan(eb, fb)


@fn
def exact_zero(negative_a: u64, negative_b: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """The sign of an exact zero sum of two terms with these signs (IEEE 754-2019, 6.3)."""
    if negative_a == negative_b:
        return signed(negative_a, 0, eb, fb)
    return signed(u64(rm == RDN), 0, eb, fb)


@fn
def overflow(h: Hart, negative: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """The result of an overflow (IEEE 754-2019, 7.4)."""
    h.fflags |= OF | NX
    if rm == RTZ or (rm == RDN and negative == 0) or (rm == RUP and negative != 0):
        return signed(negative, infinity(eb, fb) - 1, eb, fb)
    return signed(negative, infinity(eb, fb), eb, fb)


@fn
def round_pack(h: Hart, negative: u64, exp: i64, sig: u64, rm: u32, eb: u32, fb: u32) -> u64:
    """Round significand * 2**(exp - 63) into the format. Bit 63 of `sig` is set and its lowest bit is sticky."""
    cut = 63 - fb
    half = u64(1) << (cut - 1)
    mask = (u64(1) << cut) - 1
    field = exp + (i64(1) << (eb - 1)) - 1
    if unlikely(field >= (i64(1) << eb) - 1):
        return overflow(h, negative, rm, eb, fb)
    tiny = False
    if unlikely(field <= 0):
        # Tiny unless rounding to full precision reaches the least normal number (IEEE 754-2019, 7.5, case a)
        full = sig >> cut
        tiny = field < 0 or full + 1 < u64(2) << fb or not rounds_up(negative, full & 1, sig & mask, half, rm)
        sig = shift_right_sticky(sig, u64(1 - field))
        field = 1
    rest = sig & mask
    # The leading bit of a normal significand adds one to the exponent field, as does a carry out of rounding
    bits = (u64(field - 1) << fb) + (sig >> cut)
    if rest != 0:
        h.fflags |= NX
        if tiny:
            h.fflags |= UF
        if rounds_up(negative, bits & 1, rest, half, rm):
            bits += 1
    if unlikely(bits >= infinity(eb, fb)):
        return overflow(h, negative, rm, eb, fb)
    return signed(negative, bits, eb, fb)
