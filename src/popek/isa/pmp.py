"""Physical memory protection: 16 entries, granularity 4 KiB, so a page never straddles a border.

Privileged ISA, "Physical Memory Protection".
"""
from __future__ import annotations

from popek.isa.hart import MACHINE, PMP_ENTRIES, Hart
from popek.lang import fn, u8, u32, u64

PMP_R, PMP_W, PMP_X, PMP_L = 1, 2, 4, 0x80
A_OFF, A_TOR, A_NA4, A_NAPOT = 0, 1, 2, 3
GRAIN_BITS = 10                          # G: 2^(G+2) = 4 KiB
GRAIN_MASK = (1 << GRAIN_BITS) - 1       # pmpaddr bits below a page
ADDRESS_MASK = (1 << 54) - 1             # pmpaddr holds bits 55:2 of an address


@fn
def pmp_match(h: Hart, i: u64, page: u64) -> bool:
    """Does entry `i` cover the page with pmpaddr-style number `page` (address >> 2, page aligned)?"""
    how = u32(h.pmpcfg[i]) >> 3 & 3
    if how == A_TOR:
        low: u64 = 0
        if i != 0:
            low = h.pmpaddr[i - 1] & ~GRAIN_MASK
        return page >= low and page < h.pmpaddr[i] & ~GRAIN_MASK
    if how == A_NAPOT:
        address = h.pmpaddr[i] | GRAIN_MASK >> 1
        return (address ^ page) & ~(address ^ (address + 1)) == 0
    return False


@fn
def pmp_find(h: Hart, paddr: u64) -> u32:
    """The configuration byte of the lowest-numbered entry that covers `paddr`, or 0x100 when none does."""
    page = paddr >> 2 & ~GRAIN_MASK
    i: u64 = 0
    while i < h.pmp_used:
        if pmp_match(h, i, page):
            return u32(h.pmpcfg[i])
        i += 1
    return 0x100


@fn
def pmp_allows(h: Hart, paddr: u64, mode: u32, access: u32) -> bool:
    """May `mode` do `access` (0 read, 1 write, 2 execute) at `paddr`?"""
    if mode == MACHINE and h.pmp_locked == 0:
        return True
    found = pmp_find(h, paddr)
    if found == 0x100:
        return mode == MACHINE
    if mode == MACHINE and found & PMP_L == 0:
        return True
    return found >> access & 1 != 0


@fn
def pmp_refresh(h: Hart) -> None:
    """Recompute pmp_used and pmp_locked after a change."""
    h.pmp_used = 0
    h.pmp_locked = 0
    for i in range(PMP_ENTRIES):
        if h.pmpcfg[i] & 0x18 != 0:
            h.pmp_used = i + 1
            if h.pmpcfg[i] & PMP_L != 0:
                h.pmp_locked = 1


@fn
def pmp_set_config(h: Hart, i: u64, value: u8) -> None:
    """Write one configuration byte (WARL): R=0 W=1 and NA4 are not taken, locked ones stay."""
    if h.pmpcfg[i] & PMP_L != 0:
        return
    new = value & 0x9F
    if new & 3 == PMP_W:
        new = new & ~PMP_W
    if new >> 3 & 3 == A_NA4:
        new = new & ~0x18 | h.pmpcfg[i] & 0x18
    h.pmpcfg[i] = new


@fn
def pmp_set_address(h: Hart, i: u64, value: u64) -> None:
    """Write one address register; it is locked with its entry, and with the next one when that is TOR."""
    if h.pmpcfg[i] & PMP_L != 0:
        return
    if i + 1 < PMP_ENTRIES and h.pmpcfg[i + 1] & PMP_L != 0 and h.pmpcfg[i + 1] >> 3 & 3 == A_TOR:
        return
    h.pmpaddr[i] = value & ADDRESS_MASK


@fn
def pmp_get_address(h: Hart, i: u64) -> u64:
    """Read one address register: bits below the granularity read as ones (NAPOT) or zeros (OFF, TOR)."""
    if h.pmpcfg[i] & 0x10 != 0:
        return h.pmpaddr[i] | GRAIN_MASK >> 1
    return h.pmpaddr[i] & ~GRAIN_MASK


@fn
def pmp_open(h: Hart) -> None:
    """Let every mode reach all memory: what firmware would have done before it starts a kernel."""
    h.pmpcfg[0] = A_NAPOT << 3 | PMP_R | PMP_W | PMP_X
    h.pmpaddr[0] = ADDRESS_MASK
    pmp_refresh(h)
