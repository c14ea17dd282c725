"""The meanings for one element, in plain Python, against arithmetic that knows no widths."""

from __future__ import annotations

import random
import struct
from fractions import Fraction
from itertools import product

import pytest

from popek.isa.hart import Hart
from popek.isa.vector import estimate, fixed, integer
from popek.isa.vector.generic import Generic

SIGNED = [*range(-128, -120), *range(-3, 4), 63, 64, 100, *range(120, 128)]
UNSIGNED = [*range(8), 100, *range(124, 132), *range(248, 256)]


def rounded(value: int, shift: int, vxrm: int) -> int:
    """value / 2**shift, rounded as vxrm says ("Vector Fixed-Point Rounding Mode Register `vxrm`")."""
    exact = Fraction(value, 1 << shift)
    down = exact.numerator // exact.denominator
    if exact == down or vxrm == 2:
        return down
    if vxrm == 3:
        return down | 1
    half = exact - down - Fraction(1, 2)
    return down + (half > 0 or (half == 0 and (vxrm == 0 or down % 2 == 1)))


def signed(value: int, bits: int = 8) -> int:
    return (value & (1 << bits) - 1 ^ 1 << bits - 1) - (1 << bits - 1)


def at(function: object, bits: int = 8) -> object:
    assert isinstance(function, Generic)
    return function.at(bits)


@pytest.mark.parametrize("vxrm", range(4))
def test_fixed_point(vxrm: int) -> None:
    h = Hart()
    h.vxrm = vxrm
    clip = {"vsadd": lambda a, b: a + b, "vssub": lambda a, b: a - b, "vsmul": lambda a, b: rounded(a * b, 7, vxrm)}
    for name, exact in clip.items():
        function = at(getattr(fixed, name))
        for a, b in product(SIGNED, SIGNED):
            h.vxsat = 0
            wanted = min(max(exact(a, b), -128), 127)
            assert signed(function(h, a & 255, b & 255)) == wanted, (name, a, b)
            assert h.vxsat == (wanted != exact(a, b)), (name, a, b)
    for a, b in product(UNSIGNED, UNSIGNED):
        h.vxsat = 0
        assert at(fixed.vsaddu)(h, a, b) == min(a + b, 255) and h.vxsat == (a + b > 255)
        h.vxsat = 0
        assert at(fixed.vssubu)(h, a, b) == max(a - b, 0) and h.vxsat == (a < b)
        assert at(fixed.vaaddu)(h, a, b) == rounded(a + b, 1, vxrm)
        assert at(fixed.vasubu)(h, a, b) == rounded(a - b, 1, vxrm) & 255
    for a, b in product(SIGNED, SIGNED):
        assert signed(at(fixed.vaadd)(h, a & 255, b & 255)) == rounded(a + b, 1, vxrm)
        assert signed(at(fixed.vasub)(h, a & 255, b & 255)) == signed(rounded(a - b, 1, vxrm))


@pytest.mark.parametrize("vxrm", range(4))
def test_scaling_and_clipping(vxrm: int) -> None:
    h = Hart()
    h.vxrm = vxrm
    numbers = random.Random(vxrm)
    for _ in range(2000):
        value, shift = numbers.getrandbits(16), numbers.randrange(16)
        assert at(fixed.vssrl, 16)(h, value, shift) == rounded(value, shift, vxrm)
        assert signed(at(fixed.vssra, 16)(h, value, shift), 16) == rounded(signed(value, 16), shift, vxrm)
        h.vxsat = 0
        exact = rounded(value, shift, vxrm)
        assert at(fixed.vnclipu)(h, value, shift) == min(exact, 255) and h.vxsat == (exact > 255)
        h.vxsat = 0
        exact = rounded(signed(value, 16), shift, vxrm)
        assert signed(at(fixed.vnclip)(h, value, shift)) == min(max(exact, -128), 127)
        assert h.vxsat == (not -128 <= exact <= 127)


def test_multiplication_and_division() -> None:
    for a, b in product(range(0, 256, 3), [0, 1, 2, 127, 128, 129, 254, 255]):
        x, y = signed(a), signed(b)
        assert at(integer.vmulhu)(a, b) == a * b >> 8
        assert at(integer.vmulh)(a, b) == x * y >> 8 & 255
        assert at(integer.vmulhsu)(a, b) == x * b >> 8 & 255
        quotient = int(Fraction(x, y)) if y else -1
        assert at(integer.vdiv)(a, b) == quotient & 255
        assert at(integer.vrem)(a, b) == (x - quotient * y if y else x) & 255
        assert at(integer.vdivu)(a, b) == (a // b if b else 255)
        assert at(integer.vremu)(a, b) == (a % b if b else a)


def test_examples_of_the_estimates() -> None:
    """Unprivileged ISA, the notes to the two instructions."""
    h = Hart()
    assert estimate.reciprocal(h, 0x00718ABC, 0, 32) == 0x7E900000
    assert estimate.reciprocal(h, 0x7F765432, 0, 32) == 0x00214000
    assert estimate.reciprocal_root(h, 0x00718ABC, 32) == 0x5F080000
    assert estimate.reciprocal_root(h, 0x7F765432, 32) == 0x1F820000
    assert h.fflags == 0


def test_estimates_have_seven_bits() -> None:
    h, numbers = Hart(), random.Random(1)
    for _ in range(500):
        x = numbers.uniform(1e-3, 1e3)
        (bits,) = struct.unpack("<Q", struct.pack("<d", x))
        results = estimate.reciprocal(h, bits, 0, 64), estimate.reciprocal_root(h, bits, 64)
        for result, exact in zip(results, (1 / x, x**-0.5), strict=True):
            (found,) = struct.unpack("<d", struct.pack("<Q", result))
            assert abs(found / exact - 1) < 2**-7
