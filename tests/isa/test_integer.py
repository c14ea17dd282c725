"""I, M, A, B, Zbc and Zicond against formulas on unbounded Python integers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from popek.isa import table
from popek.lang.run import Runner

RUN = Runner()
MASK = (1 << 64) - 1
EDGES = (0, 1, 2, 31, 32, 63, 64, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF,
         0x7FFF_FFFF_FFFF_FFFF, 0x8000_0000_0000_0000, MASK, MASK - 1, 0xFFFF_FFFF_8000_0000)  # fmt: skip
number = st.one_of(st.sampled_from(EDGES), st.integers(0, MASK))


def s(value: int, bits: int = 64) -> int:
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> bits - 1 else value


def w(value: int) -> int:
    return s(value, 32)


def u32(value: int) -> int:
    return value & 0xFFFF_FFFF


def div(a: int, b: int) -> int:
    if b == 0:
        return -1
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


def rem(a: int, b: int) -> int:
    return a if b == 0 else a - b * div(a, b)


def rotate(value: int, left: int, bits: int) -> int:
    left %= bits
    value &= (1 << bits) - 1
    return value << left | value >> bits - left


def carryless(a: int, b: int) -> int:
    product = 0
    for bit in range(64):
        if b >> bit & 1:
            product ^= a << bit
    return product


TWO: dict[str, Callable[[int, int], int]] = {
    "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "xor": lambda a, b: a ^ b, "or_": lambda a, b: a | b,
    "and_": lambda a, b: a & b, "sll": lambda a, b: a << b % 64, "srl": lambda a, b: a >> b % 64,
    "sra": lambda a, b: s(a) >> b % 64, "slt": lambda a, b: s(a) < s(b), "sltu": lambda a, b: a < b,
    "addw": lambda a, b: w(a + b), "subw": lambda a, b: w(a - b), "sllw": lambda a, b: w(a << b % 32),
    "srlw": lambda a, b: w(u32(a) >> b % 32), "sraw": lambda a, b: w(a) >> b % 32,
    "mul": lambda a, b: a * b, "mulh": lambda a, b: s(a) * s(b) >> 64, "mulhu": lambda a, b: a * b >> 64,
    "mulhsu": lambda a, b: s(a) * b >> 64, "mulw": lambda a, b: w(a * b),
    "div": lambda a, b: div(s(a), s(b)), "divu": lambda a, b: a // b if b else -1,
    "rem": lambda a, b: rem(s(a), s(b)), "remu": lambda a, b: a % b if b else a,
    "divw": lambda a, b: w(div(w(a), w(b))), "divuw": lambda a, b: w(u32(a) // u32(b)) if u32(b) else -1,
    "remw": lambda a, b: w(rem(w(a), w(b))), "remuw": lambda a, b: w(u32(a) % u32(b)) if u32(b) else w(a),
    "sh1add": lambda a, b: a * 2 + b, "sh2add": lambda a, b: a * 4 + b, "sh3add": lambda a, b: a * 8 + b,
    "add_uw": lambda a, b: u32(a) + b, "sh1add_uw": lambda a, b: u32(a) * 2 + b,
    "sh2add_uw": lambda a, b: u32(a) * 4 + b, "sh3add_uw": lambda a, b: u32(a) * 8 + b,
    "andn": lambda a, b: a & ~b, "orn": lambda a, b: a | ~b, "xnor": lambda a, b: ~(a ^ b),
    "max_": lambda a, b: max(s(a), s(b)), "maxu": max, "min_": lambda a, b: min(s(a), s(b)), "minu": min,
    "rol": lambda a, b: rotate(a, b, 64), "ror": lambda a, b: rotate(a, -b, 64),
    "rolw": lambda a, b: w(rotate(a, b, 32)), "rorw": lambda a, b: w(rotate(a, -b, 32)),
    "bclr": lambda a, b: a & ~(1 << b % 64), "bset": lambda a, b: a | 1 << b % 64,
    "binv": lambda a, b: a ^ 1 << b % 64, "bext": lambda a, b: a >> b % 64 & 1,
    "clmul": carryless, "clmulh": lambda a, b: carryless(a, b) >> 64, "clmulr": lambda a, b: carryless(a, b) >> 63,
    "czero_eqz": lambda a, b: a if b else 0, "czero_nez": lambda a, b: 0 if b else a,
}  # fmt: skip
IMMEDIATE: dict[str, tuple[str, int, int]] = {
    "addi": ("add", -2048, 2047), "slti": ("slt", -2048, 2047), "sltiu": ("sltu", -2048, 2047),
    "xori": ("xor", -2048, 2047), "ori": ("or_", -2048, 2047), "andi": ("and_", -2048, 2047),
    "addiw": ("addw", -2048, 2047), "slli": ("sll", 0, 63), "srli": ("srl", 0, 63), "srai": ("sra", 0, 63),
    "slliw": ("sllw", 0, 31), "srliw": ("srlw", 0, 31), "sraiw": ("sraw", 0, 31), "rori": ("ror", 0, 63),
    "roriw": ("rorw", 0, 31), "bclri": ("bclr", 0, 63), "bseti": ("bset", 0, 63), "binvi": ("binv", 0, 63),
    "bexti": ("bext", 0, 63),
}  # fmt: skip
ONE: dict[str, Callable[[int], int]] = {
    "clz_": lambda a: 64 - a.bit_length(), "clzw": lambda a: 32 - u32(a).bit_length(),
    "ctz_": lambda a: 64 if a == 0 else (a & -a).bit_length() - 1,
    "ctzw": lambda a: 32 if u32(a) == 0 else (u32(a) & -u32(a)).bit_length() - 1,
    "cpop": lambda a: a.bit_count(), "cpopw": lambda a: u32(a).bit_count(),
    "sext_b": lambda a: s(a, 8), "sext_h": lambda a: s(a, 16), "zext_h": lambda a: a & 0xFFFF,
    "orc_b": lambda a: int.from_bytes(bytes(255 if b else 0 for b in a.to_bytes(8, "big")), "big"),
    "rev8": lambda a: int.from_bytes(a.to_bytes(8, "big"), "little"),
}  # fmt: skip
BRANCHES: dict[str, Callable[[int, int], bool]] = {
    "beq": lambda a, b: a == b, "bne": lambda a, b: a != b, "blt": lambda a, b: s(a) < s(b),
    "bge": lambda a, b: s(a) >= s(b), "bltu": lambda a, b: a < b, "bgeu": lambda a, b: a >= b,
}  # fmt: skip


def meaning(name: str) -> Callable[..., int]:
    return RUN[table.OPS[table.IDS[name] - 1].fn]  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", TWO)
@given(a=number, b=number)
@example(a=1 << 63, b=MASK)
@example(a=0xFFFF_FFFF_8000_0000, b=MASK)
@example(a=7, b=0)
def test_two_registers(name: str, a: int, b: int) -> None:
    assert meaning(name)(a, b) == int(TWO[name](a, b)) & MASK


@pytest.mark.parametrize("name", IMMEDIATE)
@given(data=st.data(), a=number)
def test_immediates(name: str, data: st.DataObject, a: int) -> None:
    like, low, high = IMMEDIATE[name]
    imm = data.draw(st.integers(low, high)) & MASK
    assert meaning(name)(a, imm) == int(TWO[like](a, imm)) & MASK


@given(a=number, shift=st.integers(0, 63))
def test_slli_uw(a: int, shift: int) -> None:
    assert meaning("slli_uw")(a, shift) == u32(a) << shift & MASK


@pytest.mark.parametrize("name", ONE)
@given(a=number)
@example(a=0)
def test_one_register(name: str, a: int) -> None:
    assert meaning(name)(a) == ONE[name](a) & MASK


@pytest.mark.parametrize("name", BRANCHES)
@given(a=number, b=number)
def test_branches(name: str, a: int, b: int) -> None:
    assert meaning(name)(a, b) == BRANCHES[name](a, b)
    assert meaning(name)(a, a) == BRANCHES[name](a, a)


def test_nothing_with_registers_alone_is_forgotten() -> None:
    plain = {op.name for op in table.OPS if op.kind == "alu" and set(op.parameters) <= {"rs1", "rs2", "imm"}}
    assert plain - {*TWO, *IMMEDIATE, *ONE} == {"lui", "slli_uw"}
