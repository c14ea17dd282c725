"""Physical memory protection. Privileged ISA, "Physical Memory Protection"."""

from __future__ import annotations

import pytest

from popek.isa import hart
from popek.isa.pmp import A_NAPOT, A_TOR, PMP_L, PMP_R, PMP_W, PMP_X, pmp_allows
from popek.lang.run import Runner
from tests.isa.machine import RAM, Machine

RUN = Runner()
MODES = (hart.USER, hart.SUPERVISOR, hart.MACHINE)


def machine(*entries: tuple[int, int]) -> Machine:
    """Entries are (configuration byte, pmpaddr), written through the CSRs."""
    m = Machine()
    m.one("csrw pmpcfg0, zero")
    for number, (config, address) in enumerate(entries):
        m.one(f"csrw pmpaddr{number}, a1", a1=address)
        m.one("csrrs zero, pmpcfg0, a1", a1=config << number * 8)
    return m


def may(m: Machine, address: int, mode: int, access: int = 0) -> bool:
    return bool(RUN[pmp_allows](m.hart, address, mode, access))


def napot(base: int, size: int) -> int:
    return base >> 2 | (size >> 3) - 1


def test_without_a_match_only_machine_mode_gets_through() -> None:
    m = machine()
    assert [may(m, RAM, mode) for mode in MODES] == [False, False, True]


@pytest.mark.parametrize("size", [4096, 8192, 1 << 20, 1 << 30])
def test_naturally_aligned_regions(size: int) -> None:
    base = 0x4000_0000
    m = machine((A_NAPOT << 3 | PMP_R, napot(base, size)))
    assert [may(m, a, hart.USER) for a in (base - 1, base, base + size - 1, base + size)] == [False, True, True, False]


def test_everything() -> None:
    m = machine((A_NAPOT << 3 | PMP_X, (1 << 54) - 1))
    assert [may(m, a, hart.USER, 2) for a in (0, RAM, (1 << 56) - 4096)] == [True, True, True]


def test_top_of_range() -> None:
    m = machine((0, 0x8000_0000 >> 2), (A_TOR << 3 | PMP_R | PMP_W, 0x8000_3000 >> 2))
    assert [may(m, a, hart.SUPERVISOR, 1) for a in (0x7FFF_F000, 0x8000_0000, 0x8000_2FFF, 0x8000_3000)] == [
        False, True, True, False]


def test_first_range_starts_at_zero() -> None:
    m = machine((A_TOR << 3 | PMP_R, 0x1000 >> 2))
    assert may(m, 0, hart.USER) and not may(m, 0x1000, hart.USER)


def test_the_first_matching_entry_decides() -> None:
    m = machine((A_NAPOT << 3, napot(RAM, 4096)), (A_NAPOT << 3 | PMP_R | PMP_W | PMP_X, (1 << 54) - 1))
    assert not may(m, RAM, hart.SUPERVISOR)
    assert may(m, RAM + 4096, hart.SUPERVISOR)
    assert may(m, RAM, hart.MACHINE)


def test_locked_entries_bind_machine_mode_and_stay() -> None:
    m = machine((A_NAPOT << 3 | PMP_L | PMP_R, napot(0x4000_0000, 4096)))
    assert [may(m, 0x4000_0000, hart.MACHINE, access) for access in (0, 1, 2)] == [True, False, False]
    m.one("csrw pmpcfg0, zero")
    m.one("csrw pmpaddr0, zero")
    assert m.one("csrr a0, pmpcfg0") & 0xFF == A_NAPOT << 3 | PMP_L | PMP_R
    assert not may(m, 0x4000_0000, hart.MACHINE, 1)


def test_a_locked_range_also_locks_its_lower_border() -> None:
    m = machine((0, 0x4000_0000 >> 2), (A_TOR << 3 | PMP_L, 0x4000_1000 >> 2))
    m.one("csrw pmpaddr0, zero")
    assert m.one("csrr a0, pmpaddr0") == 0x4000_0000 >> 2


def test_write_without_read_and_na4_are_not_taken() -> None:
    m = machine((A_NAPOT << 3 | PMP_R, 0))
    m.one("csrw pmpcfg0, a1", a1=2 << 3 | PMP_W | 0x60)
    assert m.one("csrr a0, pmpcfg0") & 0xFF == A_NAPOT << 3


def test_granularity_as_software_finds_it_out() -> None:
    m = machine()
    m.one("csrw pmpaddr0, a1", a1=-1)
    assert m.one("csrr a0, pmpaddr0") == (1 << 54) - (1 << 10)          # G = 10: 4 KiB
    m.one("csrw pmpcfg0, a1", a1=A_NAPOT << 3)
    assert m.one("csrr a0, pmpaddr0") == (1 << 54) - 1
    m.one("csrw pmpaddr0, zero")
    assert m.one("csrr a0, pmpaddr0") == (1 << 9) - 1


def test_entries_of_the_second_register() -> None:
    m = Machine()
    m.one("csrw pmpcfg2, a1", a1=(A_NAPOT << 3 | PMP_R) << 56)
    assert m.hart.pmpcfg[15] == A_NAPOT << 3 | PMP_R
    assert m.hart.pmp_used == 16
    m.one("csrr a0, 0x3a1")              # pmpcfg1 is a register of RV32
    assert m.hart.mcause == hart.ILLEGAL_INSTRUCTION


def test_page_tables_are_read_with_supervisor_rights() -> None:
    from popek.isa.paging import translate
    from popek.lang import Trap
    from tests.isa.test_paging import FULL, TABLES, map_page

    m = machine((A_NAPOT << 3, napot(TABLES, 4096)), (A_NAPOT << 3 | PMP_R, (1 << 54) - 1))
    map_page(m, 0x4000, RAM, FULL)
    m.hart.mode = hart.SUPERVISOR
    with pytest.raises(Trap):
        RUN[translate](m.hart, 0x4000, 0)
    assert m.hart.trap_cause == hart.LOAD_ACCESS_FAULT
