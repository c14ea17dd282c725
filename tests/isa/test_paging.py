"""Sv39, Sv48, Sv57: every step of the Privileged ISA's "Virtual Address Translation Process" has a test."""

from __future__ import annotations

import pytest

from popek.isa import hart
from popek.isa.paging import (
    EXECUTE,
    PTE_A,
    PTE_D,
    PTE_G,
    PTE_N,
    PTE_R,
    PTE_U,
    PTE_V,
    PTE_W,
    PTE_X,
    READ,
    WRITE,
    translate,
)
from popek.lang import Trap
from popek.lang.run import Runner
from tests.isa.machine import RAM, Machine

RUN = Runner()
TABLES = RAM + 0xF0000          # page tables grow down from here
FULL = PTE_V | PTE_R | PTE_W | PTE_X | PTE_A | PTE_D
PAGE_FAULTS = {READ: 13, WRITE: 15, EXECUTE: 12}


def map_page(m: Machine, vaddr: int, paddr: int, flags: int, levels: int = 3, leaf: int = 0) -> int:
    """Map a page by a leaf at level `leaf`; returns the address of its entry. The first call turns paging on."""
    if m.hart.satp == 0:
        m.hart.satp = 5 + levels << 60 | TABLES >> 12
    table, used = TABLES, [TABLES]
    for level in range(levels - 1, leaf, -1):
        slot = table + (vaddr >> 12 + 9 * level & 511) * 8
        entry = m.word(slot)
        if not entry & PTE_V:
            m.tables = getattr(m, "tables", TABLES) - 0x1000  # type: ignore[attr-defined]
            entry = m.tables >> 12 << 10 | PTE_V  # type: ignore[attr-defined]
            m.put(slot, entry)
        table = entry >> 10 << 12
        used.append(table)
    slot = table + (vaddr >> 12 + 9 * leaf & 511) * 8
    m.put(slot, paddr >> 12 << 10 | flags)
    return slot


def supervisor(levels: int = 3) -> Machine:
    m = Machine()
    m.hart.mode = hart.SUPERVISOR
    m.hart.satp = 5 + levels << 60 | TABLES >> 12
    return m


def go(m: Machine, vaddr: int, access: int = READ) -> int:
    return int(RUN[translate](m.hart, vaddr, access))


def fault(m: Machine, vaddr: int, access: int = READ) -> int:
    with pytest.raises(Trap):
        go(m, vaddr, access)
    assert m.hart.trap_tval == vaddr
    return int(m.hart.trap_cause)


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_pages_of_every_size(levels: int) -> None:
    for leaf in range(levels):
        m = supervisor(levels)
        base = 1 << 21 + 9 * leaf if leaf < levels - 1 else 0
        vaddr = base + (1 << 12 + 9 * leaf) * 3
        size = 1 << 12 + 9 * leaf
        paddr = size * 5
        map_page(m, vaddr, paddr, FULL, levels, leaf)
        assert go(m, vaddr + size - 1) == paddr + size - 1
        assert m.hart.walk_level == leaf
        assert fault(m, vaddr + size) == 13


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_addresses_must_be_canonical(levels: int) -> None:
    m = supervisor(levels)
    bits = 12 + 9 * levels
    top = (1 << 64) - 0x1000
    map_page(m, top, RAM, FULL, levels)
    assert go(m, top + 5) == RAM + 5
    for bad in (1 << bits - 1, top & (1 << bits) - 1, top ^ 1 << bits, 1 << 63):
        for access, cause in PAGE_FAULTS.items():
            assert fault(m, bad, access) == cause


@pytest.mark.parametrize("flags", [
    0, FULL & ~PTE_V, PTE_V | PTE_W | PTE_A | PTE_D, PTE_V | PTE_W | PTE_X | PTE_A | PTE_D,
    FULL | 1 << 54, FULL | 1 << 61, FULL | 1 << 63, PTE_V,
])  # fmt: skip
def test_invalid_and_reserved_entries(flags: int) -> None:
    m = supervisor()
    map_page(m, 0x4000, RAM, flags)
    for access, cause in PAGE_FAULTS.items():
        assert fault(m, 0x4000, access) == cause


@pytest.mark.parametrize("extra", [PTE_A, PTE_D, PTE_U, 1 << 60, 1 << 61, 1 << 62, PTE_N])
def test_reserved_bits_of_pointers(extra: int) -> None:
    m = supervisor()
    m.hart.menvcfg = hart.PBMTE
    map_page(m, 0x4000, RAM, FULL)
    m.put(TABLES, m.word(TABLES) | extra)
    assert fault(m, 0x4000) == 13


@pytest.mark.parametrize("levels", [3, 4, 5])
def test_napot_leaves(levels: int) -> None:
    """Svnapot: one of sixteen entries translates its 4 KiB of the 64 KiB block."""
    m = supervisor(levels)
    map_page(m, 0x53000, 0x7_8000, FULL | PTE_N, levels)
    assert go(m, 0x53FFF) == 0x7_3FFF
    assert m.hart.walk_level == 1
    assert fault(m, 0x54000) == 13
    assert go(m, 0x53000, WRITE) == go(m, 0x53000, EXECUTE) == 0x7_3000


def test_napot_leaves_are_permitted_and_marked_like_others() -> None:
    m = supervisor()
    m.hart.menvcfg = hart.ADUE
    slot = map_page(m, 0x53000, 0x7_8000, PTE_V | PTE_R | PTE_W | PTE_N)
    assert fault(m, 0x53000, EXECUTE) == 12
    assert go(m, 0x53000, WRITE) == 0x7_3000
    assert m.word(slot) == 0x7_8000 >> 2 | PTE_V | PTE_R | PTE_W | PTE_N | PTE_A | PTE_D


@pytest.mark.parametrize("low", [n for n in range(16) if n != 8])
def test_reserved_napot_sizes(low: int) -> None:
    m = supervisor()
    map_page(m, 0x53000, 0x7_0000 | low << 12, FULL | PTE_N)
    assert fault(m, 0x53000) == 13


def test_napot_superpages_are_reserved() -> None:
    m = supervisor()
    map_page(m, 0x20_0000, 0x20_0000, FULL | PTE_N, leaf=1)
    assert fault(m, 0x20_0000) == 13
    map_page(m, 0x20_0000, 0x20_8000, FULL | PTE_N, leaf=1)
    assert fault(m, 0x20_0000) == 13


@pytest.mark.parametrize("leaf", [0, 1, 2])
@pytest.mark.parametrize("kind", [1, 2, 3])
def test_memory_types_of_leaves(leaf: int, kind: int) -> None:
    """Svpbmt: 3 is reserved, and without menvcfg.PBMTE all are."""
    m = supervisor()
    slot = map_page(m, 0x4000_0000, 0x4000_0000, FULL | kind << 61, leaf=leaf)
    for access, cause in PAGE_FAULTS.items():
        m.hart.menvcfg = 0
        assert fault(m, 0x4000_0000, access) == cause
        m.hart.menvcfg = hart.PBMTE
        if kind == 3:
            assert fault(m, 0x4000_0000, access) == cause
        else:
            assert go(m, 0x4000_0000, access) == 0x4000_0000
    assert m.word(slot) >> 61 == kind


def test_global_pointers_are_allowed() -> None:
    m = supervisor()
    map_page(m, 0x4000, RAM, FULL)
    m.put(TABLES, m.word(TABLES) | PTE_G)
    assert go(m, 0x4000) == RAM


def test_misaligned_superpage() -> None:
    m = supervisor()
    map_page(m, 0x20_0000, RAM + 0x1000, FULL, leaf=1)
    assert fault(m, 0x20_0000) == 13


@pytest.mark.parametrize("access", [READ, WRITE, EXECUTE])
@pytest.mark.parametrize("flags", [PTE_R, PTE_R | PTE_W, PTE_X, PTE_R | PTE_X, PTE_R | PTE_W | PTE_X])
@pytest.mark.parametrize("user", [0, PTE_U])
@pytest.mark.parametrize("mode", [hart.USER, hart.SUPERVISOR])
@pytest.mark.parametrize("status", [0, hart.SUM, hart.MXR, hart.SUM | hart.MXR])
def test_permissions(access: int, flags: int, user: int, mode: int, status: int) -> None:
    m = supervisor()
    map_page(m, 0x4000, RAM, flags | user | PTE_V | PTE_A | PTE_D)
    m.hart.mode, m.hart.mstatus = mode, m.hart.mstatus | status
    allowed = flags & {READ: PTE_R, WRITE: PTE_W, EXECUTE: PTE_X}[access]
    if access == READ and status & hart.MXR:
        allowed |= flags & PTE_X
    if mode == hart.USER:
        reachable = bool(user)
    else:
        reachable = not user or (bool(status & hart.SUM) and access != EXECUTE)
    if allowed and reachable:
        assert go(m, 0x4123, access) == RAM + 0x123
    else:
        assert fault(m, 0x4123, access) == PAGE_FAULTS[access]


def test_accessed_and_dirty_raise_without_svadu() -> None:
    m = supervisor()
    slot = map_page(m, 0x4000, RAM, FULL & ~PTE_D)
    assert go(m, 0x4000, READ) == RAM
    assert fault(m, 0x4000, WRITE) == 15
    m.put(slot, m.word(slot) & ~PTE_A)
    assert fault(m, 0x4000, READ) == 13
    assert m.word(slot) & (PTE_A | PTE_D) == 0


def test_svadu_updates_accessed_and_dirty() -> None:
    m = supervisor()
    m.hart.menvcfg = hart.ADUE
    slot = map_page(m, 0x4000, RAM, FULL & ~PTE_D & ~PTE_A)
    go(m, 0x4000, EXECUTE)
    assert m.word(slot) & (PTE_A | PTE_D) == PTE_A
    go(m, 0x4000, WRITE)
    assert m.word(slot) & (PTE_A | PTE_D) == PTE_A | PTE_D


def test_a_refused_access_marks_nothing() -> None:
    m = supervisor()
    m.hart.menvcfg = hart.ADUE
    slot = map_page(m, 0x4000, RAM, PTE_V | PTE_R)
    assert fault(m, 0x4000, WRITE) == 15
    assert m.word(slot) & (PTE_A | PTE_D) == 0


@pytest.mark.parametrize(("access", "cause"), [(READ, 5), (WRITE, 7), (EXECUTE, 1)])
def test_tables_outside_memory_are_access_faults(access: int, cause: int) -> None:
    m = supervisor()
    m.hart.satp = 8 << 60 | 0x10
    assert fault(m, 0x4000, access) == cause


def test_machine_mode_translates_only_under_mprv() -> None:
    m = supervisor()
    map_page(m, 0x4000, RAM + 0x5000, FULL)
    m.hart.mode = hart.MACHINE
    assert go(m, 0x4000) == 0x4000
    m.hart.mstatus |= hart.MPRV | hart.SUPERVISOR << hart.MPP_SHIFT
    assert go(m, 0x4000) == RAM + 0x5000
    assert go(m, 0x4000, EXECUTE) == 0x4000
    m.hart.mstatus |= hart.MPP
    assert go(m, 0x4000) == 0x4000


def test_mprv_lends_the_privilege_too() -> None:
    m = supervisor()
    map_page(m, 0x4000, RAM, FULL | PTE_U)
    m.hart.mode = hart.MACHINE
    m.hart.mstatus |= hart.MPRV
    assert go(m, 0x4000) == RAM
    m.hart.mstatus |= hart.SUPERVISOR << hart.MPP_SHIFT
    assert fault(m, 0x4000) == 13


def test_bare_mode() -> None:
    m = supervisor()
    m.hart.satp = 0x1234
    assert go(m, RAM + 5, WRITE) == RAM + 5
