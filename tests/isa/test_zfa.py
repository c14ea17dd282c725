"""Zfa: constants, rounding in the format, quiet comparisons, modular conversion, against the model of numbers.

That the host's unit does the same as softfloat is test_fp_host's.
"""

from __future__ import annotations

import struct
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from popek.isa import table
from popek.isa.hart import Hart
from popek.isa.text import CONSTANTS
from popek.lang.run import Runner
from tests.isa.ieee import F32, F64, MODES, NV, NX, Format, specials, truncate

RUN = Runner()
BOX = 0xFFFF_FFFF << 32
FORMATS = {"s": F32, "d": F64}
#: The values of FLI's table. Unprivileged ISA, "Zfa".
VALUES = (-1.0, None, 2**-16, 2**-15, 2**-8, 2**-7, 0.0625, 0.125, 0.25, 0.3125, 0.375, 0.4375, 0.5, 0.625, 0.75, 0.875,
          1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0, 8.0, 16.0, 128.0, 256.0, 2.0**15, 2.0**16, float("inf"),
          None)  # fmt: skip


def meaning(name: str, *arguments: int) -> tuple[int, int]:
    """Result and flags."""
    h = Hart()
    fn = table.OPS[table.IDS[name] - 1].fn
    result = RUN[fn](h, *arguments)
    return result, h.fflags


def boxed(form: Format, bits: int) -> int:
    return bits | BOX if form.width == 32 else bits


def numbers(form: Format) -> st.SearchStrategy[int]:
    """Bits: anything, edges, and what lies near integers."""
    near = st.builds(lambda e, f, s: s << form.width - 1 | form.bias + e << form.fb | f,
                     st.integers(-3, form.fb + 12), st.integers(0, (1 << form.fb) - 1), st.integers(0, 1))  # fmt: skip
    halves = st.integers(-20, 20).map(lambda n: bits_of(form, n / 2))
    return st.one_of(st.integers(0, (1 << form.width) - 1), st.sampled_from(specials(form)), near, halves)


def bits_of(form: Format, value: float) -> int:
    return int.from_bytes(struct.pack("<f" if form.width == 32 else "<d", value), "little")


def value_of(form: Format, bits: int) -> float:
    return float(struct.unpack("<f" if form.width == 32 else "<d", bits.to_bytes(form.width // 8, "little"))[0])


def is_nan(form: Format, bits: int) -> bool:
    return bits & (1 << form.width - 1) - 1 > form.infinity


def signals(form: Format, bits: int) -> bool:
    return is_nan(form, bits) and not bits >> form.fb - 1 & 1


@pytest.mark.parametrize("suffix", FORMATS)
def test_constants(suffix: str) -> None:
    form = FORMATS[suffix]
    for number, value in enumerate(VALUES):
        expected = bits_of(form, value) if value is not None else 1 << form.fb if number == 1 else form.nan
        assert meaning(f"fli_{suffix}", number)[0] == boxed(form, expected), number
        text = f"fli.{suffix} ft0, {CONSTANTS[number]}"
        assert table.disassemble(table.assemble(text)) == text
        if number not in (1, 30, 31):
            written = CONSTANTS[number]
            assert (float.fromhex(written) if "x" in written else float(written)) == value


@pytest.mark.parametrize("name", ["fround", "froundnx"])
@pytest.mark.parametrize("suffix", FORMATS)
@given(data=st.data(), mode=st.sampled_from(MODES))
def test_rounding(name: str, suffix: str, data: st.DataObject, mode: int) -> None:
    form = FORMATS[suffix]
    a = data.draw(numbers(form))
    got = meaning(f"{name}_{suffix}", boxed(form, a), mode)
    if is_nan(form, a):
        assert got == (boxed(form, form.nan), NV if signals(form, a) else 0)
        return
    if a & form.infinity == form.infinity:
        assert got == (boxed(form, a), 0)
        return
    exact = Fraction(value_of(form, a))
    negative = a >> form.width - 1
    whole = truncate(exact, bool(negative), mode)
    expected = bits_of(form, float(whole)) | negative << form.width - 1
    assert got == (boxed(form, expected), NX if name == "froundnx" and whole != abs(exact) else 0)


@pytest.mark.parametrize("suffix", FORMATS)
@given(data=st.data())
def test_pairs(suffix: str, data: st.DataObject) -> None:
    """Minimum and maximum in which NaNs win, comparisons that do not signal quiet NaNs."""
    form = FORMATS[suffix]
    a, b = data.draw(numbers(form)), data.draw(numbers(form))
    flags = NV if signals(form, a) or signals(form, b) else 0
    got = {n: meaning(f"{n}_{suffix}", boxed(form, a), boxed(form, b)) for n in ("fminm", "fmaxm", "fltq", "fleq")}
    if is_nan(form, a) or is_nan(form, b):
        assert got == {"fminm": (boxed(form, form.nan), flags), "fmaxm": (boxed(form, form.nan), flags),
                       "fltq": (0, flags), "fleq": (0, flags)}  # fmt: skip
        return
    x, y = value_of(form, a), value_of(form, b)
    low, high = sorted((a, b), key=lambda bits: (value_of(form, bits), -(bits >> form.width - 1)))
    assert got == {"fminm": (boxed(form, low), 0), "fmaxm": (boxed(form, high), 0), "fltq": (x < y, 0),
                   "fleq": (x <= y, 0)}  # fmt: skip


@given(a=numbers(F64))
@example(a=bits_of(F64, -2147483648.0))
@example(a=bits_of(F64, -2147483648.5))
@example(a=bits_of(F64, 2147483647.5))
@example(a=bits_of(F64, 2147483648.0))
@example(a=bits_of(F64, 2.0**63 + 2.0**31 + 2.0**12))
@example(a=bits_of(F64, -(2.0**83 + 2.0**31)))
@example(a=bits_of(F64, 2.0**84))
def test_modular_conversion(a: int) -> None:
    got = meaning("fcvtmod_w_d", a)
    if a & F64.infinity == F64.infinity:
        assert got == (0, NV)
        return
    exact = Fraction(value_of(F64, a))
    whole = int(exact)
    expected = (whole + (1 << 31)) % (1 << 32) - (1 << 31)
    flags = NX if whole != exact else 0
    if not -(1 << 31) <= whole < 1 << 31:
        flags = NV
    assert got == (expected & (1 << 64) - 1, flags)
