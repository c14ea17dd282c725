"""Comparison, minimum and maximum, classification. Nothing that rounds."""
from popek.isa.hart import Hart
from popek.isa.softfloat.pack import (
    NV,
    canonical_nan,
    infinity,
    is_nan,
    is_signaling,
    is_zero,
    magnitude,
    nan_result,
    sign,
)
from popek.lang import fn, u32, u64


@fn
def precedes(a: u64, b: u64, eb: u32, fb: u32) -> bool:
    """a before b, neither a NaN, and -0 before +0."""
    negative = sign(a, eb, fb)
    if negative != sign(b, eb, fb):
        return negative != 0
    return a != b and (negative != 0) == (a > b)


@fn
def eq(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> bool:
    """a = b, a quiet comparison (IEEE 754-2019, 5.11)."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        if is_signaling(a, eb, fb) or is_signaling(b, eb, fb):
            h.fflags |= NV
        return False
    return a == b or (is_zero(a, eb, fb) and is_zero(b, eb, fb))


@fn
def lt(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> bool:
    """a < b, a signaling comparison."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        h.fflags |= NV
        return False
    return precedes(a, b, eb, fb) and not (is_zero(a, eb, fb) and is_zero(b, eb, fb))


@fn
def le(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> bool:
    """a <= b, a signaling comparison."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        h.fflags |= NV
        return False
    return not precedes(b, a, eb, fb) or (is_zero(a, eb, fb) and is_zero(b, eb, fb))


@fn
def lt_quiet(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> bool:
    """a < b, a quiet comparison."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        return eq(h, a, b, eb, fb)
    return lt(h, a, b, eb, fb)


@fn
def le_quiet(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> bool:
    """a <= b, a quiet comparison."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        return eq(h, a, b, eb, fb)
    return le(h, a, b, eb, fb)


@fn
def least(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> u64:
    """minimumNumber (IEEE 754-2019, 9.6)."""
    if is_signaling(a, eb, fb) or is_signaling(b, eb, fb):
        h.fflags |= NV
    if is_nan(a, eb, fb):
        return canonical_nan(eb, fb) if is_nan(b, eb, fb) else b
    if is_nan(b, eb, fb) or precedes(a, b, eb, fb):
        return a
    return b


@fn
def greatest(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> u64:
    """maximumNumber (IEEE 754-2019, 9.6)."""
    if is_signaling(a, eb, fb) or is_signaling(b, eb, fb):
        h.fflags |= NV
    if is_nan(a, eb, fb):
        return canonical_nan(eb, fb) if is_nan(b, eb, fb) else b
    if is_nan(b, eb, fb) or precedes(b, a, eb, fb):
        return a
    return b


@fn
def minimum(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> u64:
    """minimum (IEEE 754-2019, 9.6): a NaN wins."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        return nan_result(h, a, b, eb, fb)
    return a if precedes(a, b, eb, fb) else b


@fn
def maximum(h: Hart, a: u64, b: u64, eb: u32, fb: u32) -> u64:
    """maximum (IEEE 754-2019, 9.6): a NaN wins."""
    if is_nan(a, eb, fb) or is_nan(b, eb, fb):
        return nan_result(h, a, b, eb, fb)
    return b if precedes(a, b, eb, fb) else a


@fn
def classify(a: u64, eb: u32, fb: u32) -> u64:
    """The result of fclass: one bit of ten (Unprivileged ISA, chapter "F", table "Format of result of FCLASS")."""
    size = magnitude(a, eb, fb)
    if size > infinity(eb, fb):
        return u64(1) << 8 if is_signaling(a, eb, fb) else u64(1) << 9
    place: u64 = 1  # a normal number
    if size == infinity(eb, fb):
        place = 0
    elif size == 0:
        place = 3
    elif size >> fb == 0:
        place = 2
    if sign(a, eb, fb) == 0:
        place = 7 - place
    return u64(1) << place
