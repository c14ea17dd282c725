"""CSRs: existence, privilege, WARL masks, and the six instructions that reach them."""

from __future__ import annotations

import pytest

from popek.isa import csr, hart
from popek.isa.hart import ILLEGAL_INSTRUCTION, MACHINE, SUPERVISOR, USER
from tests.isa.machine import RAM, Machine

ONES = (1 << 64) - 1


def at(mode: int, **fields: int) -> Machine:
    m = Machine()
    m.hart.mode = mode
    for name, value in fields.items():
        setattr(m.hart, name, value)
    return m


def read(m: Machine, name: str) -> int | None:
    """The register's value, or None when reading it is an illegal instruction."""
    mode, pc = m.hart.mode, m.hart.pc
    value = m.one(f"csrr a0, {name}")
    if m.hart.pc == pc + 4 and m.hart.mode == mode:
        return value
    assert m.hart.mcause == ILLEGAL_INSTRUCTION
    assert m.hart.mtval == m.word(pc, 4)
    m.hart.mode, m.hart.pc = mode, pc + 4
    return None


def write(m: Machine, name: str, value: int) -> bool:
    """False when writing it is an illegal instruction."""
    mode, pc = m.hart.mode, m.hart.pc
    m.one(f"csrw {name}, a1", a1=value)
    done = bool(m.hart.pc == pc + 4)
    m.hart.mode, m.hart.pc = mode, pc + 4
    return done


@pytest.mark.parametrize("mode", [USER, SUPERVISOR, MACHINE])
def test_every_number_exists_and_is_guarded(mode: int) -> None:
    """All 4096 numbers: what is in the table is reachable from its privilege up, nothing else exists anywhere."""
    m = at(mode, vector=1, mstatus=hart.FS | hart.VS, mcounteren=ONES, scounteren=ONES, menvcfg=hart.STCE)
    for number in range(4096):
        exists = number in csr.NAMES and number >> 8 & 3 <= mode
        assert (read(m, hex(number)) is not None) == exists, hex(number)
        m.hart.mstatus = hart.FS | hart.VS


@pytest.mark.parametrize("number", [n for n in csr.NAMES if n >> 10 == 3])
def test_read_only_registers(number: int) -> None:
    m = at(MACHINE, vector=1, mstatus=hart.VS)
    assert not write(m, hex(number), 0)
    assert m.hart.mcause == ILLEGAL_INSTRUCTION
    for text in ("csrrs a0, {}, zero", "csrrc a0, {}, zero", "csrrsi a0, {}, 0", "csrrci a0, {}, 0"):
        pc = m.hart.pc
        m.one(text.format(hex(number)))
        assert m.hart.pc == pc + 4
    for text in ("csrrs a0, {}, a1", "csrrc a0, {}, a1", "csrrsi a0, {}, 1", "csrrci a0, {}, 1"):
        m.hart.pc = RAM
        m.one(text.format(hex(number)), a1=0)
        assert m.hart.pc != RAM + 4


@pytest.mark.parametrize(("name", "value"), [
    ("mstatus", 0x8000_000A_007E_79AA), ("sstatus", 0x8000_0002_000C_6122), ("misa", 0x8000_0000_0014_112F),
    ("medeleg", 0xB3FF), ("mideleg", 0x222), ("mie", 0xAAA), ("mtvec", ONES - 2), ("stvec", ONES - 2),
    ("mepc", ONES - 1), ("sepc", ONES - 1), ("mcounteren", 0xFFFF_FFFF), ("scounteren", 0xFFFF_FFFF),
    ("mcountinhibit", 5), ("menvcfg", 0xE000_0000_0000_00F1), ("senvcfg", 0xF1), ("mscratch", ONES),
    ("sscratch", ONES), ("mcause", ONES), ("scause", ONES), ("mtval", ONES), ("stval", ONES), ("stimecmp", ONES),
    ("mhpmevent3", 0), ("mhpmcounter31", 0), ("tselect", 0), ("tdata1", 0), ("fcsr", 0xFF), ("fflags", 31), ("frm", 7),
])  # fmt: skip
def test_writable_bits(name: str, value: int) -> None:
    m = at(MACHINE)
    m.hart.mstatus |= 1 << hart.FS_SHIFT
    assert write(m, name, ONES)
    assert read(m, name) == value
    if name == "mstatus":
        m.hart.mstatus &= ~hart.MPRV               # or the next fetch's data accesses would go elsewhere
    assert write(m, name, 0)
    if name not in ("misa", "mstatus", "sstatus", "mhpmevent3"):
        assert read(m, name) == 0


def test_mpp_takes_only_modes_that_exist() -> None:
    m = at(MACHINE)
    for value, kept in ((1, 1), (2, 1), (3, 3), (2, 3), (0, 0)):
        write(m, "mstatus", value << 11)
        assert (read(m, "mstatus") or 0) >> 11 & 3 == kept


def test_satp_ignores_modes_that_do_not_exist() -> None:
    m = at(MACHINE)
    for mode in range(16):
        write(m, "satp", 0x5)
        write(m, "satp", mode << 60 | 0x123)
        assert read(m, "satp") == (mode << 60 | 0x123 if mode in (0, 8, 9, 10) else 5)


def test_reserved_cbie_keeps_the_old_value() -> None:
    m = at(MACHINE)
    write(m, "menvcfg", 3 << 4)
    write(m, "menvcfg", 2 << 4)
    assert read(m, "menvcfg") == 3 << 4


def test_counters_are_gated() -> None:
    for name, bit in (("cycle", 0), ("time", 1), ("instret", 2), ("hpmcounter3", 3), ("hpmcounter31", 31)):
        assert read(at(SUPERVISOR, mcounteren=ONES & ~(1 << bit)), name) is None
        assert read(at(SUPERVISOR, mcounteren=1 << bit), name) is not None
        assert read(at(USER, mcounteren=1 << bit), name) is None
        assert read(at(USER, mcounteren=1 << bit, scounteren=1 << bit), name) is not None
        assert read(at(MACHINE), name) is not None


def test_counters_count_instructions_and_can_be_stopped() -> None:
    m = at(MACHINE)
    write(m, "minstret", 100)
    assert read(m, "minstret") == 100
    assert read(m, "instret") == 101
    write(m, "mcountinhibit", 4)
    stopped = read(m, "minstret")
    assert read(m, "minstret") == stopped
    write(m, "minstret", 7)
    write(m, "mcountinhibit", 0)
    assert read(m, "minstret") in (7, 8)
    write(m, "mcycle", ONES)
    assert read(m, "mcycle") == ONES
    assert read(m, "mcycle") == 0


def test_tvm_hides_satp_from_the_supervisor() -> None:
    assert read(at(SUPERVISOR, mstatus=hart.TVM), "satp") is None
    assert not write(at(SUPERVISOR, mstatus=hart.TVM), "satp", 0)
    assert read(at(MACHINE, mstatus=hart.TVM), "satp") == 0


def test_stimecmp_needs_permission_below_machine_mode() -> None:
    assert read(at(MACHINE), "stimecmp") is not None
    assert read(at(SUPERVISOR, mcounteren=2), "stimecmp") is None
    assert read(at(SUPERVISOR, menvcfg=hart.STCE), "stimecmp") is None
    assert read(at(SUPERVISOR, menvcfg=hart.STCE, mcounteren=2), "stimecmp") is not None


def test_floating_point_registers_follow_fs() -> None:
    assert read(at(MACHINE, mstatus=0), "fcsr") is None
    m = at(MACHINE, mstatus=1 << hart.FS_SHIFT)
    assert read(m, "frm") == 0
    assert m.hart.mstatus >> hart.FS_SHIFT & 3 == 1
    write(m, "fflags", 1)
    assert (read(m, "mstatus") or 0) >> 63 == 1


def test_instructions_return_the_old_value() -> None:
    m = at(MACHINE, mscratch=0b1100)
    assert m.one("csrrw a0, mscratch, a1", a1=0b1010) == 0b1100
    assert m.one("csrrs a0, mscratch, a1", a1=0b0101) == 0b1010
    assert m.one("csrrc a0, mscratch, a1", a1=0b0011) == 0b1111
    assert m.one("csrrwi a0, mscratch, 17") == 0b1100
    assert m.one("csrrsi a0, mscratch, 2") == 17
    assert m.one("csrrci a0, mscratch, 1") == 19
    assert m.one("csrr a0, mscratch") == 18
    m.one("csrwi mscratch, 31")
    assert m.hart.mscratch == 31


def test_rd_and_rs1_may_be_the_same_register() -> None:
    m = at(MACHINE, mscratch=1)
    assert m.one("csrrw a0, mscratch, a0", a0=2) == 1
    assert m.hart.mscratch == 2


def test_delegated_views() -> None:
    m = at(MACHINE, mideleg=hart.SSIP, mie=0xAAA, mip=0x222)
    assert read(m, "sie") == hart.SSIP
    assert read(m, "sip") == hart.SSIP
    write(m, "sie", 0)
    assert m.hart.mie == 0xAAA & ~hart.SSIP
    write(m, "sip", 0)
    assert m.hart.mip == 0x220
    write(m, "sip", ONES)
    assert m.hart.mip == 0x222


def test_pending_bits_software_may_write() -> None:
    m = at(MACHINE)
    write(m, "mip", ONES)
    assert read(m, "mip") == hart.SSIP | hart.STIP | hart.SEIP
    assert m.hart.mip & hart.SEIP == 0                  # the wire is another bit
    m.hart.mip |= hart.SEIP
    write(m, "mip", 0)
    assert read(m, "mip") == hart.SEIP
    m.hart.menvcfg, m.hart.stimecmp = hart.STCE, ONES
    write(m, "mip", hart.STIP)
    assert read(m, "mip") == hart.SEIP                  # with Sstc STIP is the timer's


def test_setting_bits_of_mip_does_not_turn_a_wire_into_software() -> None:
    m = at(MACHINE)
    m.hart.mip = hart.SEIP
    m.one("csrrs a0, mip, a1", a1=hart.SSIP)
    m.hart.mip &= ~hart.SEIP
    assert read(m, "mip") == hart.SSIP
