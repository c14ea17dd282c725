"""F by instruction: boxes, modes, flags, signs, moves, loads and stores. Arithmetic has tests of its own."""

from __future__ import annotations

import pytest

from popek.isa.hart import FS, MACHINE, Hart
from tests.isa.machine import RAM, Machine

ONE, TWO, THREE, MINUS_ONE = 0x3F800000, 0x40000000, 0x40400000, 0xBF800000
NAN, SIGNALING, INFINITY = 0x7FC00000, 0x7F800001, 0x7F800000
BOX = 0xFFFFFFFF00000000
INITIAL, CLEAN, DIRTY = 1 << 13, 2 << 13, 3 << 13


@pytest.fixture
def machine() -> Machine:
    made = Machine()
    made.hart.mstatus |= INITIAL
    return made


def do(machine: Machine, text: str, *values: int, boxed: bool = True) -> int:
    """Execute with fa1, fa2, fa3 = values; the bits of fa0 afterwards."""
    h = machine.hart
    for n, value in enumerate(values, 11):
        h.f[n] = value | BOX if boxed else value
    h.f[10] = 0
    machine.one(text)
    assert h.pc == RAM + 4, f"trap {h.mcause}"
    h.pc = RAM
    return h.f[10]


def illegal(machine: Machine, text: str) -> bool:
    """Does it raise an illegal-instruction exception, leaving fa0 alone?"""
    h = machine.hart
    h.pc, h.mcause, h.mtvec, h.f[10] = RAM, 99, RAM + 0x100, 77
    machine.one(text)
    raised = bool(h.mcause == 2 and h.pc == RAM + 0x100 and h.f[10] == 77)
    h.pc, h.mode = RAM, MACHINE
    return raised


def test_results_are_boxed(machine: Machine) -> None:
    assert do(machine, "fadd.s fa0, fa1, fa2", ONE, ONE) == BOX | TWO
    assert do(machine, "fmadd.s fa0, fa1, fa2, fa3", ONE, TWO, ONE) == BOX | THREE


def test_unboxed_operands_are_nans(machine: Machine) -> None:
    for value in (ONE, ONE | 0xFFFFFFFE << 32, 0x3FF << 52):
        assert do(machine, "fadd.s fa0, fa1, fa2", value, BOX | ONE, boxed=False) == BOX | NAN
        assert do(machine, "fsgnj.s fa0, fa1, fa1", value, boxed=False) == BOX | NAN
        assert do(machine, "fsgnj.s fa0, fa2, fa1", value | 1 << 31, BOX | MINUS_ONE, boxed=False) == BOX | ONE
        assert do(machine, "fmin.s fa0, fa1, fa2", value, BOX | ONE, boxed=False) == BOX | ONE
        do(machine, "fclass.s a0, fa1", value, boxed=False)
        assert machine.hart.x[10] == 1 << 9
    assert machine.hart.fflags == 0


def test_bits_move_unexamined(machine: Machine) -> None:
    do(machine, "fmv.x.w a0, fa1", 0x12345678_80000001, boxed=False)
    assert machine.hart.x[10] == 0xFFFFFFFF_80000001
    machine.hart.x[10] = 0x12345678_9ABCDEF0
    assert do(machine, "fmv.w.x fa0, a0") == BOX | 0x9ABCDEF0


def test_memory(machine: Machine) -> None:
    machine.put(RAM + 0x200, SIGNALING, 4)
    machine.hart.x[11] = RAM + 0x208
    assert do(machine, "flw fa0, -8(a1)") == BOX | SIGNALING
    machine.hart.f[1] = 0x11223344_55667788
    do(machine, "fsw f1, 4(a1)")
    assert machine.word(RAM + 0x208) == 0x55667788 << 32


def test_sign_injection(machine: Machine) -> None:
    assert do(machine, "fsgnj.s fa0, fa1, fa2", SIGNALING, MINUS_ONE) == BOX | SIGNALING | 1 << 31
    assert do(machine, "fsgnjn.s fa0, fa1, fa2", ONE, MINUS_ONE) == BOX | ONE
    assert do(machine, "fsgnjx.s fa0, fa1, fa2", MINUS_ONE, MINUS_ONE) == BOX | ONE
    assert machine.hart.fflags == 0


@pytest.mark.parametrize(
    ("name", "expected"), [("fmadd", 0x40A00000), ("fmsub", ONE), ("fnmsub", MINUS_ONE), ("fnmadd", 0xC0A00000)]
)
def test_signs_of_the_fused(machine: Machine, name: str, expected: int) -> None:
    assert do(machine, f"{name}.s fa0, fa1, fa2, fa3", ONE, THREE, TWO) == BOX | expected


def test_conversions_fill_the_register(machine: Machine) -> None:
    minus = 0xCF000000  # -2**31
    for text, value, expected, flags in (
        ("fcvt.w.s a0, fa1", minus, 0xFFFFFFFF_80000000, 0),
        ("fcvt.wu.s a0, fa1", 0x4F000000, 0xFFFFFFFF_80000000, 0),
        ("fcvt.wu.s a0, fa1", minus, 0, 16),
        ("fcvt.wu.s a0, fa1", NAN, (1 << 64) - 1, 16),
        ("fcvt.l.s a0, fa1", INFINITY, (1 << 63) - 1, 16),
        ("fcvt.lu.s a0, fa1", 0xBF000000, 0, 1),
        ("fcvt.w.s a0, fa1, rup", 0x3F000000, 1, 1),
    ):
        machine.hart.fflags = 0
        do(machine, text, value)
        assert (machine.hart.x[10], machine.hart.fflags) == (expected, flags), text


def test_integers_are_read_in_their_width(machine: Machine) -> None:
    machine.hart.x[11] = 0x12345678_FFFFFFFF
    assert do(machine, "fcvt.s.w fa0, a1") == BOX | MINUS_ONE
    assert do(machine, "fcvt.s.wu fa0, a1, rtz") == BOX | 0x4F7FFFFF
    machine.hart.x[11] = (1 << 64) - 1
    assert do(machine, "fcvt.s.l fa0, a1") == BOX | MINUS_ONE
    assert do(machine, "fcvt.s.lu fa0, a1") == BOX | 0x5F800000


def test_rounding_mode_of_the_instruction_and_of_frm(machine: Machine) -> None:
    third = {"rne": 0x3EAAAAAB, "rtz": 0x3EAAAAAA, "rdn": 0x3EAAAAAA, "rup": 0x3EAAAAAB, "rmm": 0x3EAAAAAB}
    for mode, (name, expected) in enumerate(third.items()):
        machine.hart.frm = 1
        assert do(machine, f"fdiv.s fa0, fa1, fa2, {name}", ONE, THREE) == BOX | expected
        machine.hart.frm = mode
        assert do(machine, "fdiv.s fa0, fa1, fa2", ONE, THREE) == BOX | expected


def test_reserved_rounding_modes(machine: Machine) -> None:
    for mode in (5, 6, 7):
        machine.hart.frm = mode
        for text in ("fadd.s fa0, fa1, fa2", "fsqrt.s fa0, fa1", "fcvt.s.l fa0, a1", "fmadd.s fa0, fa1, fa2, fa3"):
            assert illegal(machine, text)
        assert illegal(machine, "fcvt.w.s a0, fa1")
        for text in ("fadd.s fa0, fa1, fa2, rne", "fsgnj.s fa0, fa1, fa2", "fmin.s fa0, fa1, fa2"):
            do(machine, text, ONE, TWO)
    machine.hart.frm = 0
    for static in (5, 6):
        machine.put(RAM, 0x00C5F553 & ~(7 << 12) | static << 12, 4)  # fadd.s fa0, fa1, fa2
        machine.hart.mcause = 99
        machine.step()
        assert machine.hart.mcause == 2
        machine.hart.pc = RAM


def test_off_means_illegal(machine: Machine) -> None:
    machine.hart.mstatus &= ~FS
    machine.hart.x[11] = RAM
    for text in ("fadd.s fa0, fa1, fa2", "flw fa0, 0(a1)", "fsw fa0, 0(a1)", "fmv.x.w a0, fa1", "csrr a0, fcsr"):
        assert illegal(machine, text), text


def dirty_after(h: Hart, machine: Machine, text: str) -> int:
    h.mstatus = h.mstatus & ~FS | CLEAN
    do(machine, text, ONE, TWO)
    return h.mstatus & FS


def test_dirtiness(machine: Machine) -> None:
    h = machine.hart
    h.x[11] = RAM + 0x200
    changes = ("fadd.s fa0, fa1, fa2", "flw fa0, 0(a1)", "fmv.w.x fa0, a0", "feq.s a0, fa1, fa2", "csrrwi a0, frm, 0")
    for text in changes:
        assert dirty_after(h, machine, text) == DIRTY, text
    for text in ("fsw fa1, 0(a1)", "fmv.x.w a0, fa1", "fclass.s a0, fa1", "csrr a0, fcsr"):
        assert dirty_after(h, machine, text) == CLEAN, text


def test_control_and_status(machine: Machine) -> None:
    h = machine.hart
    machine.one("csrrw a0, fcsr, a1", a1=0xFFFF_FFFF)
    h.pc = RAM
    assert machine.one("csrr a0, fcsr") == 0xFF
    h.pc = RAM
    assert (h.frm, h.fflags) == (7, 31)
    machine.one("csrwi frm, 0")
    h.pc = RAM
    machine.one("csrwi fflags, 0")
    h.pc = RAM
    do(machine, "fdiv.s fa0, fa1, fa2", ONE, 0)
    do(machine, "fdiv.s fa0, fa1, fa2", ONE, THREE)
    assert machine.one("csrr a0, fflags") == 8 | 1
