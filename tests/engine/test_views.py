"""What regions may access without looking: views, under translation, protection and next to code; E_VIEW."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from popek.engine.optimizing.state import View
from popek.engine.tlb import E_VIEW
from popek.isa.hart import ADUE, MPP, MPRV, MXR, SUM
from tests.engine.native import RAM, NativeMachine
from tests.engine.scaffold import KERNEL, A, D, N, R, U, V, W, X, pte, satp
from tests.engine.small import finish, result

SIZE = 8 << 20
ROOT, MIDDLE, LEAVES = RAM + 0x10_0000, RAM + 0x10_1000, RAM + 0x10_2000
HIGH = 0x4000_0000  # virtual: 4 KiB pages by LEAVES, then 2 MiB pages


def look(m: NativeMachine, addr: int, span: int = 8, write: bool = False) -> Any:
    """A view of `addr` as the hart gets it now; None if refused."""
    call = m.library.call(f"popek.engine.optimizing.views.view_{'write' if write else 'read'}", *[ctypes.c_uint64] * 5)
    view = View.ctype()(1, 2, 3, 0)
    made = call(m.address(), addr, ctypes.addressof(view), span)
    if not made:
        assert (view.low, view.limit, view.addend) == (1, 2, 3)
        return None
    assert (addr - view.low) % 2**64 < view.limit
    size = view.limit + span - 1
    host = (addr + view.addend) % 2**64
    return view.low, view.low + size, (host - m.rams[0].address) + RAM - addr


def mode(m: NativeMachine, number: int, root: int = 0) -> None:
    """Put the hart into a mode, as an instruction would: the engine is told."""
    m.hart.mode, m.hart.satp = number, root
    m.library.call("popek.engine.template.coherence.regime_changed", None, ctypes.c_uint64)(m.address())


def paged(entries: dict[int, int], number: int = 1) -> NativeMachine:
    """A hart under Sv39: `entries` of LEAVES, by page; RAM identically mapped, by 2 MiB pages."""
    m = NativeMachine(size=SIZE)
    m.put(ROOT + 8, pte(MIDDLE, V))
    m.put(ROOT + 16, pte(RAM, KERNEL))
    m.put(MIDDLE, pte(LEAVES, V))
    m.put(MIDDLE + 8, pte(RAM + 0x20_0000, KERNEL))
    for page, entry in entries.items():
        m.put(LEAVES + 8 * page, entry)
    mode(m, number, satp(8, ROOT))
    return m


def test_all_of_ram() -> None:
    m = NativeMachine(size=SIZE)
    assert look(m, RAM + 0x1234) == (RAM, RAM + SIZE, 0)
    assert look(m, RAM + 0x1234, write=True) == (RAM, RAM + SIZE, 0)
    assert look(m, RAM + SIZE - 8, 8) == (RAM, RAM + SIZE, 0)
    assert look(m, RAM + SIZE - 8, 9) is None
    assert look(m, RAM, SIZE) == (RAM, RAM + SIZE, 0)
    assert look(m, RAM - 1, 1) is None
    assert look(m, 0x1000_0000) is None


def test_no_writes_to_code() -> None:
    m = NativeMachine(size=SIZE)
    for at in (RAM, RAM + 0x5000, RAM + 0x6000, RAM + 0x30_0000):
        m.program(finish("addi a0, zero, 1"), at)
        m.hart.pc = at
        assert result(m) == 1
    assert look(m, RAM + 0x2000, write=True) == (RAM + 0x1000, RAM + 0x5000, 0)
    assert look(m, RAM + 0x10_0000, write=True) == (RAM + 0x7000, RAM + 0x30_0000, 0)
    assert look(m, RAM + 0x40_0000, write=True) == (RAM + 0x30_1000, RAM + SIZE, 0)
    assert look(m, RAM + 0x4FF8, 8, write=True) is not None
    assert look(m, RAM + 0x4FF9, 8, write=True) is None
    assert look(m, RAM + 0x5000, write=True) is None
    assert look(m, RAM + 0x5000) == (RAM, RAM + SIZE, 0)


def test_protected() -> None:
    m = NativeMachine(size=SIZE)
    m.hart.pmpcfg[0], m.hart.pmpaddr[0] = 0x08 | 1, RAM + 0x10_0000 >> 2  # below: read only
    m.hart.pmpcfg[1], m.hart.pmpaddr[1] = 0x18 | 7, (RAM + 0x20_0000 >> 2) | (0x10_0000 >> 3) - 1
    m.hart.pmpcfg[2], m.hart.pmpaddr[2] = 0x08 | 3, RAM + 0x60_0000 >> 2
    m.hart.pmp_used = 3
    assert look(m, RAM) == (RAM, RAM + SIZE, 0)  # machine mode
    mode(m, 1)
    assert look(m, RAM) == (RAM, RAM + 0x10_0000, 0)
    assert look(m, RAM, write=True) is None
    assert look(m, RAM + 0x10_0000) is None
    assert look(m, RAM + 0x2F_0000) == (RAM + 0x20_0000, RAM + 0x30_0000, 0)
    assert look(m, RAM + 0x40_0000, write=True) == (RAM + 0x30_0000, RAM + 0x60_0000, 0)
    assert look(m, RAM + 0x60_0000) is None


def test_superpages() -> None:
    m = paged({})
    assert look(m, HIGH + 0x20_1000) == (HIGH + 0x20_0000, HIGH + 0x40_0000, RAM - HIGH)
    assert look(m, HIGH + 0x20_1000, write=True) == (HIGH + 0x20_0000, HIGH + 0x40_0000, RAM - HIGH)
    assert look(m, RAM + 0x1000) == (RAM, RAM + SIZE, 0)  # a page of 1 GiB, of which so much is RAM


def test_napot() -> None:
    entry = pte(RAM + 0x4_8000, KERNEL) | N
    m = paged(dict.fromkeys(range(16), entry))
    assert look(m, HIGH + 0x3000) == (HIGH, HIGH + 0x1_0000, RAM + 0x4_0000 - HIGH)


def test_small_pages() -> None:
    """Neighbours count as far as the TLB knows them and they lie side by side."""
    place = {0: 0x40, 1: 0x41, 2: 0x42, 3: 0x50, 4: 0x44}
    m = paged({page: pte(RAM + (n << 12), KERNEL) for page, n in place.items()})
    offset = RAM + 0x4_0000 - HIGH
    assert look(m, HIGH + 0x1008) == (HIGH + 0x1000, HIGH + 0x2000, offset)
    assert look(m, HIGH + 0x10) == (HIGH, HIGH + 0x2000, offset)
    assert look(m, HIGH + 0x2FF8, write=True) == (HIGH + 0x2000, HIGH + 0x3000, offset)
    assert look(m, HIGH + 0x2FF8, 8) == (HIGH, HIGH + 0x3000, offset)
    assert look(m, HIGH + 0x2FFC, 8) is None
    assert look(m, HIGH + 0x3000) == (HIGH + 0x3000, HIGH + 0x4000, RAM + 0x5_0000 - HIGH - 0x3000)
    assert look(m, HIGH + 0x2000) == (HIGH, HIGH + 0x3000, offset)
    assert look(m, HIGH + 0x5000) is None


@pytest.mark.parametrize(
    ("flags", "read", "write"),
    [
        (KERNEL, True, True),
        (V | R | W | X | A, True, False),  # D would have to be set
        (V | R | W | X, False, False),
        (V | R | A | D, True, False),
        (V | X | A | D, False, False),
        (KERNEL | U, False, False),
    ],
)
def test_what_the_slow_path_must_do(flags: int, read: bool, write: bool) -> None:
    m = paged({0: pte(RAM + 0x4_0000, flags)})
    m.hart.menvcfg = ADUE
    assert (look(m, HIGH) is not None) == read
    assert (look(m, HIGH, write=True) is not None) == write
    assert m.word(LEAVES) == pte(RAM + 0x4_0000, flags)


def test_modes() -> None:
    m = paged({0: pte(RAM + 0x4_0000, KERNEL | U), 1: pte(RAM + 0x4_1000, V | X | A | D)})
    assert look(m, HIGH) is None and look(m, HIGH + 0x1000) is None
    m.hart.mstatus |= SUM | MXR
    mode(m, 1, m.hart.satp)
    assert look(m, HIGH) is not None and look(m, HIGH + 0x1000) is not None
    mode(m, 0, m.hart.satp)
    assert look(m, HIGH) is not None and look(m, RAM) is None
    mode(m, 3, m.hart.satp)
    assert look(m, HIGH) is None and look(m, RAM) is not None
    m.hart.mstatus |= MPRV
    m.hart.mstatus &= ~MPP
    mode(m, 3, m.hart.satp)
    assert look(m, HIGH) is not None and look(m, RAM) is None


def test_numbers_never_come_again() -> None:
    """E_VIEW is another one after whatever makes a view void, and belongs to one regime."""
    m = paged({0: pte(RAM + 0x4_0000, KERNEL), 1: pte(RAM + 0x4_1000, KERNEL)})
    seen = set()

    def fresh(why: str) -> None:
        assert m.hart.engine[E_VIEW] not in seen, why
        seen.add(m.hart.engine[E_VIEW])

    def flush(vaddr: int, flags: int) -> None:
        call = m.library.call("popek.engine.template.coherence.tlb_flush", None, *[ctypes.c_uint64] * 4)
        call(m.address(), vaddr, 0, flags)

    fresh("supervisor")
    before = m.hart.engine[E_VIEW]
    mode(m, 0, m.hart.satp)
    fresh("user")
    m.hart.mstatus |= SUM
    mode(m, 1, m.hart.satp)
    fresh("SUM")
    mode(m, 3, m.hart.satp)
    fresh("machine")
    m.hart.mstatus |= MPRV | MPP & (1 << 11)
    mode(m, 3, m.hart.satp)
    fresh("MPRV")
    m.hart.mstatus &= ~(SUM | MPRV)
    mode(m, 1, m.hart.satp)
    assert m.hart.engine[E_VIEW] == before
    flush(0, 0)
    fresh("sfence.vma")
    look(m, HIGH)
    flush(HIGH, 1)
    fresh("by address, 4 KiB")
    look(m, HIGH + 0x20_0000)
    flush(HIGH + 0x30_0000, 1)
    fresh("by address, in a superpage")
    m.hart.mstatus |= MXR
    mode(m, 1, m.hart.satp)
    fresh("MXR")
    mode(m, 1, 0)
    fresh("satp")
    m.library.call("popek.engine.template.coherence.pmp_changed", None, ctypes.c_uint64)(m.address())
    fresh("PMP")
    m.program(finish("addi a0, zero, 1"), RAM + 0x6000)
    mode(m, 3)
    m.hart.pc = RAM + 0x6000
    result(m)
    mode(m, 1)
    fresh("code")
