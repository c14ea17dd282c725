"""An exact model of IEEE 754 binary formats on fractions, as slow as it is plain: the oracle of softfloat. Not a test.

Written from IEEE 754-2019 with RISC-V's choices: canonical NaN, tininess after rounding. Knows nothing of softfloat.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import isqrt

RNE, RTZ, RDN, RUP, RMM = range(5)
NX, UF, OF, DZ, NV = 1, 2, 4, 8, 16
MODES = (RNE, RTZ, RDN, RUP, RMM)

Number = Fraction | str  # "inf", "-inf", "qnan", "snan"; zeros are told apart by `negative`


def truncate(x: Fraction, negative: bool, mode: int) -> int:
    """x rounded to an integer; the sign counts where it is about to round to zero."""
    whole, rest = divmod(abs(x), 1)
    up = {
        RNE: rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1),
        RTZ: False,
        RDN: negative and rest > 0,
        RUP: not negative and rest > 0,
        RMM: rest >= Fraction(1, 2),
    }[mode]
    return int(whole) + up


def log2(x: Fraction) -> int:
    """The exponent e with 2**e <= x < 2**(e + 1)."""
    e = x.numerator.bit_length() - x.denominator.bit_length()
    return e if Fraction(2) ** e <= x else e - 1


@dataclass(frozen=True)
class Format:
    """Binary interchange format with `eb` exponent and `fb` fraction bits."""

    eb: int
    fb: int

    @property
    def width(self) -> int:
        return 1 + self.eb + self.fb

    @property
    def bias(self) -> int:
        return (1 << self.eb - 1) - 1

    @property
    def infinity(self) -> int:
        return (1 << self.eb) - 1 << self.fb

    @property
    def nan(self) -> int:
        return self.infinity | 1 << self.fb - 1

    def negative(self, bits: int) -> bool:
        return bool(bits >> self.eb + self.fb)

    def value(self, bits: int) -> Number:
        """The number these bits stand for."""
        size = bits & (1 << self.eb + self.fb) - 1
        sign = -1 if self.negative(bits) else 1
        if size > self.infinity:
            return "qnan" if size & 1 << self.fb - 1 else "snan"
        if size == self.infinity:
            return "inf" if sign > 0 else "-inf"
        field, fraction = size >> self.fb, size & (1 << self.fb) - 1
        if field == 0:
            return sign * fraction * Fraction(2) ** (1 - self.bias - self.fb)
        return sign * (fraction | 1 << self.fb) * Fraction(2) ** (field - self.bias - self.fb)

    def round(self, x: Fraction, negative: bool, mode: int) -> tuple[int, int]:
        """Bits and flags of x rounded; `negative` is the sign of a zero."""
        sign = int(negative) << self.eb + self.fb
        if x == 0:
            return sign, 0
        lowest, size = 1 - self.bias, abs(x)
        step = Fraction(2) ** (max(log2(size), lowest) - self.fb)
        result = truncate(size / step, negative, mode) * step
        flags = NX if result != size else 0
        if result >= Fraction(2) ** (self.bias + 1):
            to_infinity = mode in (RNE, RMM) or mode == (RDN if negative else RUP)
            return sign | self.infinity - (not to_infinity), OF | NX
        free = Fraction(2) ** (log2(size) - self.fb)
        if flags and truncate(size / free, negative, mode) * free < Fraction(2) ** lowest:
            flags |= UF
        if result < Fraction(2) ** lowest:
            return sign | int(result / step), flags
        e = log2(result)
        return sign | (e + self.bias - 1 << self.fb) + int(result / Fraction(2) ** (e - self.fb)), flags

    def nans(self, *values: Number) -> tuple[int, int] | None:
        """The result if there is a NaN among the operands."""
        if any(v in ("qnan", "snan") for v in values):
            return self.nan, NV if "snan" in values else 0
        return None

    def add(self, a: int, b: int, mode: int) -> tuple[int, int]:
        return self.sum(self.value(a), self.negative(a), b, mode)

    def sub(self, a: int, b: int, mode: int) -> tuple[int, int]:
        if self.value(b) in ("qnan", "snan"):
            return self.add(a, b, mode)
        return self.add(a, b ^ 1 << self.eb + self.fb, mode)

    def sum(self, x: Number, negative: bool, b: int, mode: int) -> tuple[int, int]:
        """x (whose sign, if it is zero, is `negative`) plus b, rounded once."""
        y = self.value(b)
        if found := self.nans(x, y):
            return found
        if isinstance(x, str) or isinstance(y, str):
            if isinstance(x, str) and isinstance(y, str) and x != y:
                return self.nan, NV
            return self.infinity | ("-inf" in (x, y)) << self.eb + self.fb, 0
        if x + y == 0:
            same = negative == self.negative(b)
            return self.round(Fraction(0), negative if same and x == 0 else mode == RDN, mode)
        return self.round(x + y, x + y < 0, mode)

    def product(self, a: int, b: int) -> tuple[Number | None, bool]:
        """The exact product and its sign; None when it is infinity times zero."""
        x, y = self.value(a), self.value(b)
        negative = self.negative(a) != self.negative(b)
        if isinstance(x, str) or isinstance(y, str):
            return (None if 0 in (x, y) else "-inf" if negative else "inf"), negative
        return x * y, negative

    def mul(self, a: int, b: int, mode: int) -> tuple[int, int]:
        if found := self.nans(self.value(a), self.value(b)):
            return found
        x, negative = self.product(a, b)
        if x is None:
            return self.nan, NV
        if isinstance(x, str):
            return self.infinity | negative << self.eb + self.fb, 0
        return self.round(x, negative, mode)

    def fma(self, a: int, b: int, c: int, mode: int) -> tuple[int, int]:
        x, y, z = self.value(a), self.value(b), self.value(c)
        if not self.nans(x, y) and self.product(a, b)[0] is None:
            return self.nan, NV
        if found := self.nans(x, y, z):
            return found
        exact, negative = self.product(a, b)
        assert exact is not None
        return self.sum(exact, negative, c, mode)

    def div(self, a: int, b: int, mode: int) -> tuple[int, int]:
        x, y = self.value(a), self.value(b)
        negative = self.negative(a) != self.negative(b)
        if found := self.nans(x, y):
            return found
        if isinstance(x, str):
            return (self.nan, NV) if isinstance(y, str) else (self.infinity | negative << self.eb + self.fb, 0)
        if isinstance(y, str):
            return self.round(Fraction(0), negative, mode)
        if y == 0:
            return (self.nan, NV) if x == 0 else (self.infinity | negative << self.eb + self.fb, DZ)
        return self.round(x / y, negative, mode)

    def sqrt(self, a: int, mode: int) -> tuple[int, int]:
        x = self.value(a)
        if found := self.nans(x):
            return found
        if x == 0 or x == "inf":
            return a, 0
        if isinstance(x, str) or x < 0:
            return self.nan, NV
        scale = 4 ** (2 * (1 << self.eb) + self.fb)  # far more bits than the root of any number is rounded to
        square = x.numerator * scale // x.denominator
        root = isqrt(square)
        exact = root * root == square and square * x.denominator == x.numerator * scale
        return self.round(Fraction(2 * root + (not exact), 2 * isqrt(scale)), False, mode)

    def to_integer(self, a: int, bits: int, signed: bool, mode: int) -> tuple[int, int]:
        low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
        x = self.value(a)
        if isinstance(x, str):
            result, flags = (low if x == "-inf" else high), NV
        else:
            result = truncate(x, x < 0, mode) * (-1 if x < 0 else 1)
            flags = NX if result != x else 0
            if not low <= result <= high:
                result, flags = (low if x < 0 else high), NV
        result &= (1 << bits) - 1
        return (result | (1 << 64) - (1 << bits) if result >> bits - 1 else result), flags


F32, F64 = Format(8, 23), Format(11, 52)


def specials(f: Format) -> list[int]:
    """Numbers at the edges of a format, of both signs."""
    one, least = f.bias << f.fb, 1 << f.fb
    sizes = {0, 1, 2, 3, least - 1, least, least + 1, 2 * least, one - 1, one, one + 1, one + least, one + least // 2}
    sizes |= {f.infinity - 1, f.infinity - 2, f.infinity, f.nan, f.nan + 5, f.infinity + 1, f.nan - 1}
    sizes |= {k + f.bias << f.fb for k in (-f.fb - 1, -f.fb, 2, f.fb - 1, f.fb, f.fb + 1) if 0 < k + f.bias}
    for k in (30, 31, 32, 62, 63, 64):
        power = k + f.bias << f.fb
        if power < f.infinity:
            sizes |= {power - 1, power, power + 1}
    return [size | sign << f.eb + f.fb for size in sorted(sizes) for sign in (0, 1)]
