"""Encoding pictures: parsing, taking fields apart and putting them together."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from popek.isa import table
from popek.isa.encoding import parse


def test_fixed_bits_and_length() -> None:
    encoding = parse("0000000 rs2 rs1 000 rd 0110011")
    assert (encoding.mask, encoding.match, encoding.length) == (0xFE00707F, 0x33, 4)
    assert parse("000 imm[5] rd imm[4:0] 01").length == 2


def test_scattered_immediate() -> None:
    field = parse("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011").field("imm")
    assert field is not None
    assert field.extract(0xFE0101E3) == -30
    assert field.insert(-30) == 0xFE0001E3 & ~0x63
    assert (field.top, field.bottom) == (13, 1)


@pytest.mark.parametrize("value", [1, 4096, -4098])
def test_immediate_that_does_not_fit(value: int) -> None:
    field = parse("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011").field("imm")
    assert field is not None
    with pytest.raises(ValueError, match="does not fit"):
        field.insert(value)


@pytest.mark.parametrize("picture", ["0000 rd", "rs9 0000", "0000000 rs2 rs1 000 rd 01100111"])
def test_bad_pictures(picture: str) -> None:
    with pytest.raises(ValueError):
        parse(picture)


@given(st.sampled_from([*table.OPS, *table.FORMS]), st.integers(0, 2**32 - 1))
def test_every_field_survives_a_round_trip(row, bits: int) -> None:  # type: ignore[no-untyped-def]
    word = bits & ~row.encoding.mask | row.encoding.match
    for field in row.encoding.fields:
        assert field.extract(field.insert(field.extract(word))) == field.extract(word)
