"""D instruction by instruction: what differs from F, between the two, and the 16-bit loads and stores."""

from __future__ import annotations

import pytest

from popek.isa import table
from tests.isa.machine import RAM, Machine
from tests.isa.test_f import BOX, INITIAL, do

ONE, TWO, THREE, MINUS_ONE = 0x3FF << 52, 1 << 62, 0x4008 << 48, 0xBFF << 52
NAN, SIGNALING = 0x7FF8 << 48, 0x7FF << 52 | 1
SIGN = 1 << 63


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    made.hart.mstatus |= INITIAL
    return made


def double(machine: Machine, text: str, *values: int) -> int:
    return do(machine, text, *values, boxed=False)


def test_arithmetic(machine: Machine) -> None:
    assert double(machine, "fadd.d fa0, fa1, fa2", ONE, TWO) == THREE
    assert double(machine, "fsub.d fa0, fa1, fa2", TWO, THREE) == MINUS_ONE
    assert double(machine, "fmul.d fa0, fa1, fa2", THREE, ONE) == THREE
    assert double(machine, "fdiv.d fa0, fa1, fa2", THREE, THREE) == ONE
    assert double(machine, "fsqrt.d fa0, fa1", ONE) == ONE
    assert machine.hart.fflags == 0
    assert double(machine, "fsqrt.d fa0, fa1", MINUS_ONE) == NAN
    assert machine.hart.fflags == 16


@pytest.mark.parametrize(
    ("name", "expected"), [("fmadd", 0x4014 << 48), ("fmsub", ONE), ("fnmsub", MINUS_ONE), ("fnmadd", 0xC014 << 48)]
)
def test_signs_of_the_fused(machine: Machine, name: str, expected: int) -> None:
    assert double(machine, f"{name}.d fa0, fa1, fa2, fa3", ONE, THREE, TWO) == expected


def test_sign_injection_and_moves(machine: Machine) -> None:
    assert double(machine, "fsgnj.d fa0, fa1, fa2", SIGNALING, MINUS_ONE) == SIGNALING | SIGN
    assert double(machine, "fsgnjn.d fa0, fa1, fa2", ONE, ONE) == MINUS_ONE
    assert double(machine, "fsgnjx.d fa0, fa1, fa2", MINUS_ONE, MINUS_ONE) == ONE
    double(machine, "fmv.x.d a0, fa1", BOX | 5)
    assert machine.hart.x[10] == BOX | 5
    machine.hart.x[10] = SIGNALING
    assert double(machine, "fmv.d.x fa0, a0") == SIGNALING
    assert machine.hart.fflags == 0


def test_comparisons_write_integers(machine: Machine) -> None:
    for text, a, b, expected, flags in (
        ("feq.d", ONE, ONE, 1, 0), ("feq.d", NAN, ONE, 0, 0), ("feq.d", SIGNALING, ONE, 0, 16),
        ("feq.d", 0, SIGN, 1, 0),
        ("flt.d", MINUS_ONE, ONE, 1, 0), ("flt.d", NAN, ONE, 0, 16), ("flt.d", SIGN, 0, 0, 0),
        ("fle.d", ONE, ONE, 1, 0), ("fle.d", ONE, NAN, 0, 16), ("fle.d", 0, SIGN, 1, 0),
    ):  # fmt: skip
        machine.hart.fflags = 0
        double(machine, f"{text} a0, fa1, fa2", a, b)
        assert (machine.hart.x[10], machine.hart.fflags) == (expected, flags), (text, hex(a), hex(b))


def test_extremes(machine: Machine) -> None:
    for text, a, b, expected, flags in (
        ("fmin.d", 0, SIGN, SIGN, 0), ("fmax.d", SIGN, 0, 0, 0), ("fmin.d", NAN, ONE, ONE, 0),
        ("fmax.d", NAN | SIGN, NAN, NAN, 0),
        ("fmax.d", SIGNALING, ONE, ONE, 16), ("fmin.d", SIGNALING, NAN, NAN, 16), ("fmax.d", MINUS_ONE, TWO, TWO, 0),
    ):  # fmt: skip
        machine.hart.fflags = 0
        assert double(machine, f"{text} fa0, fa1, fa2", a, b) == expected, (text, hex(a), hex(b))
        assert machine.hart.fflags == flags


def test_between_single_and_double(machine: Machine) -> None:
    assert double(machine, "fcvt.s.d fa0, fa1", ONE) == BOX | 0x3F800000
    assert double(machine, "fcvt.d.s fa0, fa1", BOX | 0x3F800000) == ONE
    assert double(machine, "fcvt.d.s fa0, fa1", 0x3F800000) == NAN
    assert double(machine, "fcvt.s.d fa0, fa1", SIGNALING | SIGN) == BOX | 0x7FC00000
    assert machine.hart.fflags == 16


def test_integers(machine: Machine) -> None:
    machine.hart.x[11] = 0xFFFFFFFF_00000003
    assert double(machine, "fcvt.d.w fa0, a1") == THREE
    machine.hart.x[11] = (1 << 64) - 1
    assert double(machine, "fcvt.d.wu fa0, a1") == 0x41EFFFFF_FFE00000
    assert double(machine, "fcvt.d.lu fa0, a1, rtz") == 0x43EFFFFF_FFFFFFFF
    assert machine.hart.fflags == 1
    double(machine, "fcvt.lu.d a0, fa1", 0x43E << 52)
    assert machine.hart.x[10] == 1 << 63


def test_memory_in_both_lengths(machine: Machine) -> None:
    h = machine.hart
    machine.put(RAM + 0x200, SIGNALING)
    h.x[2] = h.x[8] = RAM + 0x1C0
    for text in ("fld fs0, 64(sp)", "c.fldsp fs0, 64(sp)", "c.fld fs0, 64(x8)"):
        h.f[8], h.pc = 0, RAM
        machine.put(RAM, table.assemble(text), 4 if text[0] == "f" else 2)
        machine.step()
        assert h.f[8] == SIGNALING, text
    for i, text in enumerate(("fsd fs0, 72(sp)", "c.fsdsp fs0, 80(sp)", "c.fsd fs0, 88(x8)")):
        h.pc = RAM
        machine.put(RAM, table.assemble(text), 4 if text[0] == "f" else 2)
        machine.step()
        assert machine.word(RAM + 0x208 + 8 * i) == SIGNALING, text
    assert h.pc == RAM + 2
