"""Fixed-width arithmetic and layouts."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from popek.base import words
from popek.base.records import lay_out

numbers = st.integers(-(1 << 70), 1 << 70)
widths = st.integers(1, 66)


@given(numbers, widths)
def test_wrapping_keeps_the_value_modulo_the_width(value: int, bits: int) -> None:
    unsigned, signed = words.wrap(value, bits), words.wrap_signed(value, bits)
    assert 0 <= unsigned < 1 << bits
    assert -(1 << bits) <= 2 * signed < 1 << bits
    assert (unsigned - value) % (1 << bits) == (signed - value) % (1 << bits) == 0


@given(numbers, st.integers(0, 40), st.integers(0, 20), numbers)
def test_insert_then_field(value: int, low: int, more: int, bits: int) -> None:
    changed = words.insert(value, low + more, low, bits)
    assert words.field(changed, low + more, low) == words.wrap(bits, more + 1)
    assert words.insert(changed, low + more, low, 0) == words.insert(value, low + more, low, 0)


def test_sign_extension() -> None:
    assert words.sign_extend(0x800, 12) == 0xFFFF_FFFF_FFFF_F800
    assert words.sign_extend(0x7FF, 12) == 0x7FF
    assert words.sign_extend(0xF800, 12, 16) == 0xF800
    assert words.bit(0b100, 2) == 1 and words.mask(5) == 31


def test_alignment() -> None:
    assert words.align_up(4097, 4096) == 8192 and words.align_up(4096, 4096) == 4096
    assert words.align_down(4097, 4096) == 4096


def test_layout_is_that_of_c() -> None:
    record = lay_out([("a", 1, 1), ("b", 8, 8), ("c", 2, 2), ("d", 1, 1)])
    assert [record.slots[n].offset for n in "abcd"] == [0, 8, 16, 18]
    assert (record.size, record.align) == (24, 8)
    assert (lay_out([]).size, lay_out([]).align) == (0, 1)
