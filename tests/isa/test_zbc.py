"""Zbc as machine code, on the host's instruction and without it, against the formula."""

from __future__ import annotations

import random

import pytest

from popek.isa import zbc
from popek.lang import fn, objects, u64
from popek.lang.llvm import emit
from tests.isa.test_integer import MASK, carryless


@fn(export=True)
def low(a: u64, b: u64) -> u64:
    return zbc.product_low(a, b)


@fn(export=True)
def high(a: u64, b: u64) -> u64:
    return zbc.product_high(a, b)


@pytest.mark.parametrize("lowered", [True, False])
def test_products(lowered: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not lowered:
        for function in (zbc.product_low, zbc.product_high):
            monkeypatch.setattr(function, "native", None)
    library = objects.build(emit([low, high])).link({})
    run_low, run_high = library.function(low), library.function(high)
    r = random.Random(1)
    for n in range(3000):
        a, b = (r.getrandbits(64) | (r.getrandbits(64) if n & bit else 0) for bit in (1, 2))
        if n < 4:
            a, b = (MASK, r.getrandbits(64))[n & 1], (MASK, r.getrandbits(64))[n >> 1]
        assert (run_low(a, b), run_high(a, b)) == (carryless(a, b) & MASK, carryless(a, b) >> 64)
