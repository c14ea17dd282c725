"""Which guest pages have translations, and how they are thrown away.

Lives here: finding and making code pages, the fetch and jump tables in front of them, invalidation by stores of this
hart, of other harts and of devices. Not here: translation itself (translate), the way into and out of code (run).

Coherence. A page is marked in Board.code_map before it is read for translation, and a marked page gets no write entry
in any TLB. Harts that hold one already are asked to drop it (`protect_asked`); until they did, fence.i does not trust
what was translated meanwhile (`unsettled`). A store to a marked page reaches `code_modified`, which tells every hart
that holds translations; each looks at its next return to the engine whether code was hit.
"""

from __future__ import annotations

from popek.engine import tlb
from popek.engine.template.layout import (
    BUCKETS,
    CHANGES,
    E_CACHE,
    E_JUMPS,
    FETCH_ENTRIES,
    FETCH_REGIMES,
    HALFWORDS,
    JUMP_ENTRIES,
    JUMP_PAGES,
    UNSETTLED,
    Cache,
    CodePage,
)
from popek.isa import memory
from popek.isa.hart import SUPERVISOR, USER, Hart
from popek.isa.paging import EXECUTE
from popek.isa.ports import FLUSH_BY_ADDRESS
from popek.lang import (
    addr_of,
    at_u8,
    atomic_add,
    atomic_and,
    atomic_cas,
    atomic_load,
    atomic_or,
    atomic_store,
    cast,
    fence,
    fn,
    port,
    spin_hint,
    u8,
    u32,
    u64,
)

PAGE_MASK = 0xFFFF_FFFF_FFFF_F000
NOWHERE = 1  # a pc and a page address that never occur
POLL_ENGINE = 1 << 31
POLL_OTHERS = POLL_ENGINE - 1


@fn(inline=True)
def cache_of(h: Hart) -> Cache:
    """The hart's code cache."""
    return cast(Cache, h.engine[E_CACHE])


@fn(inline=True)
def fetch_regime(h: Hart) -> u64:
    """Which fetch and jump tables serve the hart's mode: 0 U, 1 S, 2 M."""
    if h.mode == USER:
        return 0
    if h.mode == SUPERVISOR:
        return 1
    return 2


@fn
def clear_jumps(c: Cache) -> None:
    """Forget every jump target."""
    c.epoch += 1
    for r in range(FETCH_REGIMES):
        if c.jumps[r].used:
            c.jumps[r].used = False
            for i in range(JUMP_ENTRIES):
                c.jumps[r].entries[i].pc = NOWHERE
            for i in range(JUMP_PAGES // 64):
                c.jumps[r].pages[i] = 0


@fn
def clear_fetch(c: Cache) -> None:
    """Forget where fetches lead."""
    for r in range(FETCH_REGIMES):
        if c.fetch[r].used:
            c.fetch[r].used = False
            for i in range(FETCH_ENTRIES):
                c.fetch[r].entries[i].tag = NOWHERE
    clear_jumps(c)


@fn(export=True)
def reset_hart(h: Hart) -> None:
    """Begin with nothing: everything translated so far is forgotten."""
    tlb.reset(h)
    c = cache_of(h)
    forget_all(h, c)
    h.engine[E_JUMPS] = addr_of(c.jumps[fetch_regime(h)])


@fn
def forget_all(h: Hart, c: Cache) -> None:
    """Throw all translations away (the arena is full, or something changed that is too rare to be clever about)."""
    for i in range(c.page_count):
        page = code_page(c, i)
        if page.marked:
            unmark(h, c, page)
    for b in range(BUCKETS):
        c.buckets[b] = 0
    c.page_count = 0
    c.link_count = 0
    c.unsettled_count = 0
    c.tlbs.cell_count = 0
    c.position = c.floor
    c.flushes += 1
    for r in range(FETCH_REGIMES):
        c.fetch[r].used = True
        c.jumps[r].used = True
    clear_fetch(c)


@fn(inline=True)
def code_page(c: Cache, number: u64) -> CodePage:
    """The page of that number."""
    return cast(CodePage, c.pages + number * CodePage.size)


@fn
def page_at(h: Hart, c: Cache, pc: u64) -> CodePage:
    """The code page that `pc` executes from. Raises the faults of a fetch."""
    slot = (pc >> 12) & (FETCH_ENTRIES - 1)
    table = c.fetch[fetch_regime(h)]
    if table.entries[slot].tag == pc & PAGE_MASK:
        return code_page(c, table.entries[slot].page)
    host = memory.ram_for(h, pc, EXECUTE) & PAGE_MASK
    tlb.remember_superpage(c.tlbs, h, pc)
    number = find(h, c, pc & PAGE_MASK, host)
    table.entries[slot].tag = pc & PAGE_MASK
    table.entries[slot].page = number
    table.used = True
    return code_page(c, number)


@fn
def find(h: Hart, c: Cache, vpage: u64, host: u64) -> u64:
    """The number of the code page of (virtual page, host page); made if need be. `chain` and `buckets` hold number + 1."""
    bucket = (host >> 12) & (BUCKETS - 1)
    number = c.buckets[bucket]
    while number != 0:
        page = code_page(c, number - 1)
        if page.host == host and page.vpage == vpage:
            return number - 1
        number = page.chain
    if c.page_count >= c.page_limit:
        forget_all(h, c)
    number = c.page_count
    page = code_page(c, number)
    page.vpage = vpage
    page.host = host
    page.number = u32(number)
    page.marked = False
    page.chain = c.buckets[bucket]
    for i in range(HALFWORDS):
        page.entry[i] = 0
    c.buckets[bucket] = number + 1
    c.page_count = number + 1
    return number


@fn
def mark(h: Hart, c: Cache, page: CodePage) -> None:
    """From here on stores to the page are noticed. To be called before its bytes are read."""
    page.marked = True
    atomic_or(at_u8(h.board.code_map + ((page.host - h.board.ram) >> 12)), u8(c.hart_bit))
    tlb.protect(h)
    if c.harts > 1:
        for i in range(c.harts):
            other = cast(Cache, c.library.caches[i])
            if other.hart_bit != c.hart_bit:
                atomic_add(other.protect_asked, 1)
                atomic_or(cast(Hart, other.hart).poll, POLL_ENGINE)
        if c.unsettled_count < UNSETTLED:
            c.unsettled[c.unsettled_count] = page.number
        c.unsettled_count += 1


@fn
def unmark(h: Hart, c: Cache, page: CodePage) -> None:
    """Stores to the page concern this hart no more, unless another virtual page shows it too."""
    page.marked = False
    number = c.buckets[(page.host >> 12) & (BUCKETS - 1)]
    while number != 0:
        other = code_page(c, number - 1)
        if other.host == page.host and other.marked:
            return
        number = other.chain
    atomic_and(at_u8(h.board.code_map + ((page.host - h.board.ram) >> 12)), u8(255 - c.hart_bit))


@fn
def forget_page(h: Hart, c: Cache, page: CodePage) -> None:
    """Throw one page's translations away. The caller must not return into them."""
    for i in range(HALFWORDS):
        page.entry[i] = 0
    unmark(h, c, page)
    clear_jumps(c)


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
            i = low
            while i <= last >> 1 and i < HALFWORDS:
                if page.entry[i] != 0:
                    forget_page(h, c, page)
                    break
                i += 1
        number = page.chain


@fn
def code_modified(h: Hart, paddr: u64) -> None:
    """A store of this hart went to a marked page (at most 8 bytes from paddr, within the page)."""
    c = cache_of(h)
    offset = paddr - h.board.ram_base
    owners = u64(at_u8(h.board.code_map + (offset >> 12)).value)
    if owners & c.hart_bit != 0:
        hit(h, c, (h.board.ram + offset) & PAGE_MASK, offset & 4095, (offset & 4095) + 7)
    if owners & ~c.hart_bit != 0:
        tell(c, offset, 8, owners & ~c.hart_bit)


@fn
def lock(c: Cache) -> None:
    """Own the list of changes."""
    while not atomic_cas(c.lock, 0, 1):
        spin_hint()


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


@fn(export=True)
def device_wrote(h: Hart, paddr: u64, size: u64) -> None:
    """A device wrote guest RAM: `h` is any hart of the machine; callable from any thread."""
    c = cache_of(h)
    offset = paddr - h.board.ram_base
    end = offset + size
    fence()
    while offset < end:
        stop = (offset & PAGE_MASK) + 4096
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
    asked = atomic_load(c.protect_asked)
    if asked != c.protect_done:
        tlb.protect(h)
        atomic_store(c.protect_done, asked)
    if atomic_load(c.change_count) == 0:
        return
    lock(c)
    if c.change_count > CHANGES:
        forget_all(h, c)
    else:
        for i in range(c.change_count):
            offset = c.change_at[i]
            first = offset & 4095
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

    A hart that sleeps has been asked, and looks after it before it writes anything.
    """
    c = cache_of(h)
    look_after(h, c)
    if c.unsettled_count == 0:
        return
    settled = True
    for i in range(c.harts):
        other = cast(Cache, c.library.caches[i])
        if other.hart_bit != c.hart_bit and atomic_load(other.protect_asked) != atomic_load(other.protect_done):
            if not asleep(cast(Hart, other.hart)):
                settled = False
    if not settled:
        if c.unsettled_count > UNSETTLED:
            forget_all(h, c)
            return
        for i in range(c.unsettled_count):
            page = code_page(c, u64(c.unsettled[i]))
            if page.marked:
                forget_page(h, c, page)
    c.unsettled_count = 0


@fn
def regime_changed(h: Hart) -> None:
    """Port tlb_regime_changed."""
    c = cache_of(h)
    if tlb.regime_changed(h):
        clear_fetch(c)
    h.engine[E_JUMPS] = addr_of(c.jumps[fetch_regime(h)])


@fn
def pmp_changed(h: Hart) -> None:
    """Port pmp_changed."""
    tlb.flush(h)
    clear_fetch(cache_of(h))


@fn
def tlb_flush(h: Hart, vaddr: u64, asid: u64, flags: u64) -> None:
    """Port tlb_flush. Address spaces share the tables, so flushing by ASID is flushing."""
    c = cache_of(h)
    if flags & FLUSH_BY_ADDRESS != 0:
        if tlb.flush_page(h, vaddr):
            clear_fetch(c)
        else:
            forget_fetches(c, vaddr)
    else:
        tlb.flush(h)
        clear_fetch(c)


@fn
def forget_fetches(c: Cache, vaddr: u64) -> None:
    """Forget where fetches from one page lead, and jumps if any may lead there."""
    slot = (vaddr >> 12) & (FETCH_ENTRIES - 1)
    bit = (vaddr >> 12) & (JUMP_PAGES - 1)
    jumps: u64 = 0
    for r in range(FETCH_REGIMES):
        c.fetch[r].entries[slot].tag = NOWHERE
        jumps |= c.jumps[r].pages[bit >> 6] >> (bit & 63)
    c.epoch += 1
    if jumps & 1 != 0:
        clear_jumps(c)
