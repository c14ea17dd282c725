"""softfloat as plain Python against the exact model: a tiny format, and binary32 and binary64 at their edges."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from itertools import product
from typing import Any

import pytest

from popek.isa.hart import Hart
from popek.isa.softfloat import add, compare, convert, div, mul
from popek.lang.run import Runner
from tests.isa.ieee import F32, F64, MODES, NV, Format, specials

TINY = Format(3, 3)
HALF = Format(5, 10)
run = Runner()
hart = Hart()

TWO: dict[str, Any] = {"add": add.add, "sub": add.sub, "mul": mul.mul, "div": div.div}


def apply(function: Any, *arguments: int) -> tuple[int, int]:
    """Result and flags."""
    hart.fflags = 0
    result = run[function](hart, *arguments)
    return result, hart.fflags


def agree(function: Any, model: Callable[..., tuple[int, int]], f: Format, *operands: int) -> None:
    for mode in MODES:
        assert apply(function, *operands, mode, f.eb, f.fb) == model(*operands, mode), (list(map(hex, operands)), mode)


@pytest.mark.parametrize("name", TWO)
def test_every_pair_of_a_tiny_format(name: str) -> None:
    for a, b in product(range(1 << TINY.width), repeat=2):
        if (a * 131 + b) % 7 == 0:
            agree(TWO[name], getattr(TINY, name), TINY, a, b)


def test_fused_in_a_tiny_format() -> None:
    small = Format(3, 2)
    for i, operands in enumerate(product(range(1 << small.width), repeat=3)):
        if i % 67 == 0:
            agree(mul.fma, small.fma, small, *operands)


def test_every_square_root_of_binary16() -> None:
    for a in range(0, 1 << 16, 13):
        agree(div.sqrt, HALF.sqrt, HALF, a)


@pytest.mark.parametrize("f", [F32, F64], ids=["binary32", "binary64"])
@pytest.mark.parametrize("name", TWO)
def test_edges(name: str, f: Format) -> None:
    for i, (a, b) in enumerate(product(specials(f), repeat=2)):
        if i % 5 == 0:
            agree(TWO[name], getattr(f, name), f, a, b)


@pytest.mark.parametrize("f", [F32, F64], ids=["binary32", "binary64"])
def test_edges_of_one_operand(f: Format) -> None:
    for a in specials(f):
        agree(div.sqrt, f.sqrt, f, a)
        for bits, signed, mode in product((32, 64), (True, False), MODES):
            got = apply(convert.to_integer, a, mode, bits, signed, f.eb, f.fb)
            assert got == f.to_integer(a, bits, signed, mode), (hex(a), bits, signed, mode)


@pytest.mark.parametrize("f", [F32, F64], ids=["binary32", "binary64"])
def test_random_fused(f: Format) -> None:
    dice = random.Random(7)
    edges = specials(f)
    for _ in range(1500):
        a, b = (dice.choice(edges) if dice.random() < 0.3 else dice.getrandbits(f.width) for _ in "ab")
        c = dice.choice(edges) if dice.random() < 0.3 else dice.getrandbits(f.width)
        if dice.random() < 0.5:  # near the product, so that they cancel
            c = f.mul(a, b, dice.choice(MODES))[0] ^ 1 << f.width - 1 ^ dice.getrandbits(2)
        agree(mul.fma, f.fma, f, a, b, c)


@pytest.mark.parametrize("f", [F32, F64], ids=["binary32", "binary64"])
def test_random_pairs(f: Format) -> None:
    dice = random.Random(8)
    for _ in range(400):
        a = dice.getrandbits(f.width)
        near = (a + (dice.randint(-3, 3) << f.fb) ^ dice.getrandbits(3)) % (1 << f.width)
        b = near if dice.random() < 0.5 else dice.getrandbits(f.width)
        for name, function in TWO.items():
            agree(function, getattr(f, name), f, a, b)


@pytest.mark.parametrize("f", [F32, F64], ids=["binary32", "binary64"])
def test_integers_to_numbers(f: Format) -> None:
    dice = random.Random(9)
    for shift, mode in product(range(64), MODES):
        value = dice.getrandbits(64) >> shift
        signed = value - (value >> 63 << 64)
        expected = f.round(Fraction(signed), signed < 0, mode)
        assert apply(convert.from_integer, value, mode, True, f.eb, f.fb) == expected
        expected = f.round(Fraction(value), False, mode)
        assert apply(convert.from_integer, value, mode, False, f.eb, f.fb) == expected


def test_between_formats() -> None:
    dice = random.Random(10)
    for source, target in ((F64, F32), (F32, F64), (F32, HALF)):
        for a in specials(source) + [dice.getrandbits(source.width) for _ in range(300)]:
            for mode in MODES:
                got = apply(convert.convert, a, mode, source.eb, source.fb, target.eb, target.fb)
                x = source.value(a)
                if found := target.nans(x):
                    assert got == found
                elif isinstance(x, str):
                    assert got == (target.infinity | (x == "-inf") << target.width - 1, 0)
                else:
                    assert got == target.round(x, source.negative(a), mode), (hex(a), mode)


@pytest.mark.parametrize("f", [TINY, F32, F64], ids=["tiny", "binary32", "binary64"])
def test_comparisons(f: Format) -> None:
    numbers = list(range(1 << f.width)) if f is TINY else specials(f)
    for a, b in product(numbers, repeat=2):
        x, y = f.value(a), f.value(b)
        nan, signaling = bool(f.nans(x, y)), "snan" in (x, y)
        less, equal = not nan and order(x) < order(y), not nan and x == y
        assert apply(compare.eq, a, b, f.eb, f.fb) == (equal, NV if signaling else 0)
        assert apply(compare.lt, a, b, f.eb, f.fb) == (less, NV if nan else 0)
        assert apply(compare.le, a, b, f.eb, f.fb) == (less or equal, NV if nan else 0)
        first = less or (equal and f.negative(a))
        low, high = (a, b) if first else (b, a)
        if nan:
            low = high = f.nan if f.nans(x) and f.nans(y) else b if f.nans(x) else a
        assert apply(compare.least, a, b, f.eb, f.fb) == (low, NV if signaling else 0), (hex(a), hex(b))
        assert apply(compare.greatest, a, b, f.eb, f.fb) == (high, NV if signaling else 0), (hex(a), hex(b))


def order(x: Any) -> Any:
    return {"inf": 1 << 2000, "-inf": -(1 << 2000)}.get(x, x)


def test_classes() -> None:
    f = F32
    one = f.bias << f.fb
    for bits, place in (
        (f.infinity, 7), (one, 6), (f.infinity - 1, 6), (1 << f.fb, 6), ((1 << f.fb) - 1, 5), (1, 5), (0, 4),
        (f.infinity + 1, 8), (f.nan, 9), (f.nan | 1 << 31, 9), (f.infinity + 1 | 1 << 31, 8),
    ):  # fmt: skip
        assert run[compare.classify](bits, f.eb, f.fb) == 1 << place
        if place < 8:
            assert run[compare.classify](bits | 1 << 31, f.eb, f.fb) == 1 << 7 - place
