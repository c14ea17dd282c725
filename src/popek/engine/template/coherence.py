"""Coherence of translated code: stores of this hart, of other harts and of devices, and what fence.i makes of them.

Lives here: the engine's answers to isa.ports, and what harts ask of one another. Not here: the pages (pages).

A page is marked in Board.code_map before it is read for translation, and a marked page gets no write entry
in any TLB. Harts that hold one already are asked to drop it (`protect_asked`); until they did, fence.i does not trust
what was translated meanwhile (`unsettled`). A store to a marked page reaches `code_modified`, which tells every hart
that holds translations; each looks at its next return to the engine whether code was hit.
"""

from __future__ import annotations

from popek.engine import tlb
from popek.engine.optimizing import hooks
from popek.engine.template.layout import BUCKETS, CHANGES, E_JUMPS, HALFWORDS, UNSETTLED, Cache, CodePage
from popek.engine.template.pages import (
    POLL_ENGINE,
    cache_of,
    clear_fetch,
    code_page,
    fetch_regime,
    forget_all,
    forget_entries,
    forget_fetches,
    forget_local_fetches,
    forget_page,
)
from popek.engine.tlb import EVERYTHING, PAGE, PAGE_MASK, THE_LOCAL
from popek.isa.hart import Hart
from popek.isa.ports import FLUSH_BY_ADDRESS, FLUSH_BY_ASID
from popek.lang import (
    addr_of,
    at_u8,
    atomic_and,
    atomic_cas,
    atomic_load,
    atomic_or,
    atomic_store,
    atomic_swap,
    cast,
    fence,
    fn,
    port,
    spin_hint,
    u64,
)

ASID_SHIFT, ASID_MASK = 44, 0xFFFF  # of satp
POLL_OTHERS = POLL_ENGINE - 1  # all other reasons to leave generated code


@fn
def hit(h: Hart, c: Cache, host: u64, first: u64, last: u64) -> None:
    """Bytes first..last of a RAM page changed: throw away pages that hold code translated from them."""
    low: u64 = 0
    if first >= 2:
        low = (first - 2) >> 1  # an instruction of four bytes may begin before
    number = c.buckets[(host >> 12) & (BUCKETS - 1)]
    while number != 0:
        page = code_page(c, number - 1)
        if page.host == host and page.marked:
            if any_code(page, low, last >> 1) or hooks.any_over(c, page, first, last):
                forget_page(h, c, page)
        number = page.chain


@fn(inline=True)
def any_code(page: CodePage, first: u64, last: u64) -> bool:
    """Is anything translated that begins at halfwords first..last?"""
    i = first
    while i <= last and i < HALFWORDS:
        if page.entry[i] != 0:
            return True
        i += 1
    return False


@fn
def code_modified(h: Hart, paddr: u64) -> None:
    """A store of this hart went to a marked page (at most 8 bytes from paddr, within the page)."""
    c = cache_of(h)
    offset = paddr - h.board.ram_base
    owners = u64(at_u8(h.board.code_map + (offset >> 12)).value)
    if owners & c.hart_bit != 0:
        hit(h, c, (h.board.ram + offset) & PAGE_MASK, offset & (PAGE - 1), (offset & (PAGE - 1)) + 7)
    if owners & ~c.hart_bit != 0:
        tell(c, offset, 8, owners & ~c.hart_bit)


@fn
def tell(c: Cache, offset: u64, size: u64, owners: u64) -> None:
    """Tell the harts in `owners` that bytes of RAM (offset, within one page) changed."""
    for i in range(c.harts):
        other = cast(Cache, c.library.caches[i])
        if owners & other.hart_bit != 0:
            lock(other)
            if other.change_count < CHANGES:
                other.change_at[other.change_count] = offset
                other.change_size[other.change_count] = size
            other.change_count += 1
            atomic_store(other.lock, 0)
            atomic_or(cast(Hart, other.hart).poll, POLL_ENGINE)


@fn
def lock(c: Cache) -> None:
    """Own the list of changes."""
    while not atomic_cas(c.lock, 0, 1):
        spin_hint()


@fn(export=True)
def device_wrote(h: Hart, paddr: u64, size: u64) -> None:
    """A device wrote guest RAM: `h` is any hart of the machine; callable from any thread."""
    c = cache_of(h)
    offset = paddr - h.board.ram_base
    end = offset + size
    fence()
    while offset < end:
        stop = (offset & PAGE_MASK) + PAGE
        if stop > end:
            stop = end
        owners = u64(at_u8(h.board.code_map + (offset >> 12)).value)
        if owners != 0:
            tell(c, offset, stop - offset, owners)
        offset = stop


@fn
def look_after(h: Hart, c: Cache) -> None:
    """Do what others asked of this hart: drop write entries, throw away code they wrote over."""
    atomic_and(h.poll, POLL_OTHERS)
    if atomic_load(c.protect_asked) != 0 and atomic_swap(c.protect_asked, 0) != 0:
        marks = atomic_load(c.library.marks)
        tlb.protect(h)
        atomic_store(c.protect_done, marks)
    if atomic_load(c.change_count) == 0:
        return
    lock(c)
    if c.change_count > CHANGES:
        forget_all(h, c)
    else:
        for i in range(c.change_count):
            offset = c.change_at[i]
            first = offset & (PAGE - 1)
            hit(h, c, (h.board.ram + offset) & PAGE_MASK, first, first + c.change_size[i] - 1)
    c.change_count = 0
    atomic_store(c.lock, 0)


@port
def asleep(h: Hart) -> bool:
    """Does the hart run no guest code, and will it return to the engine before it does?"""
    ...


@fn
def fence_i(h: Hart) -> None:
    """What was translated while another hart could still write unnoticed is not trusted beyond a fence.i.

    Once all others have dropped their write entries after a page was marked, what is translated anew of it is trusted:
    it stays marked. A hart that sleeps has been asked, and looks after it before it writes anything.
    """
    c = cache_of(h)
    look_after(h, c)
    if atomic_load(c.optimizing.asked) != 0:
        atomic_or(h.poll, POLL_ENGINE)  # not now
    if c.unsettled_count == 0:
        return
    settled: u64 = tlb.ALL
    for i in range(c.harts):
        other = cast(Cache, c.library.caches[i])
        busy = other.hart_bit != c.hart_bit and not asleep(cast(Hart, other.hart))
        if busy and atomic_load(other.protect_asked) != 0:
            settled = min(settled, atomic_load(other.protect_done))
    if c.unsettled_count > UNSETTLED:
        forget_all(h, c)
        return
    kept: u64 = 0
    for i in range(c.unsettled_count):
        page = code_page(c, u64(c.unsettled[i]))
        if page.marked:
            forget_entries(c, page)
            if c.unsettled_mark[i] > settled:
                c.unsettled[kept] = c.unsettled[i]
                c.unsettled_mark[kept] = c.unsettled_mark[i]
                kept += 1
    c.unsettled_count = kept


@fn
def regime_changed(h: Hart) -> None:
    """Port tlb_regime_changed."""
    c = cache_of(h)
    changed = tlb.regime_changed(h)
    if changed == EVERYTHING:
        clear_fetch(c)
    elif changed == THE_LOCAL:
        forget_local_fetches(h, c)
    h.engine[E_JUMPS] = addr_of(c.jumps[fetch_regime(h)])


@fn
def pmp_changed(h: Hart) -> None:
    """Port pmp_changed."""
    tlb.flush(h)
    clear_fetch(cache_of(h))


@fn
def tlb_flush(h: Hart, vaddr: u64, asid: u64, flags: u64) -> None:
    """Port tlb_flush. Of address spaces other than the present one nothing is kept but what is global."""
    c = cache_of(h)
    if flags & FLUSH_BY_ASID != 0 and asid != (h.satp >> ASID_SHIFT) & ASID_MASK:
        return
    if flags & FLUSH_BY_ADDRESS != 0:
        if tlb.flush_page(h, vaddr):
            clear_fetch(c)
        elif forget_fetches(c, vaddr):
            tlb.renew_views(h)
    elif flags & FLUSH_BY_ASID != 0:
        tlb.flush_local(c.tlbs)
        tlb.select(h, c.tlbs)
        forget_local_fetches(h, c)
    else:
        tlb.flush(h)
        clear_fetch(c)
