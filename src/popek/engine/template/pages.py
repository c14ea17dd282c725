"""Which guest pages have translations, and the tables that lead to them.

Lives here: finding, making, marking and forgetting code pages; the fetch and jump tables in front of them. Not here:
who writes to code and who is told (coherence), translation (translate), the way into and out of code (run).
"""

from __future__ import annotations

from popek.engine import tlb
from popek.engine.optimizing import hooks
from popek.engine.optimizing.state import REGION_PAGES
from popek.engine.template.layout import (
    BUCKETS,
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
from popek.engine.tlb import PAGE_MASK
from popek.isa import memory
from popek.isa.hart import SUPERVISOR, USER, Hart
from popek.isa.paging import EXECUTE
from popek.lang import addr_of, at_u8, atomic_add, atomic_and, atomic_or, atomic_store, cast, fn, u8, u32, u64

MACHINE_FETCHES = 2  # the fetch regime that knows no translation; those below it do
NOWHERE = 1  # a pc and a page address that never occur
POLL_ENGINE = 1 << 31  # of Hart.poll: another hart or a device asks something of this hart's engine


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
    number = find(h, c, pc & PAGE_MASK, host)
    enter(h, c, pc & PAGE_MASK, number)
    return code_page(c, number)


@fn(inline=True)
def enter(h: Hart, c: Cache, vpage: u64, number: u64) -> None:
    """Remember where fetches from `vpage` lead, as the last walk found it."""
    tlb.remember_superpage(c.tlbs, h, vpage)
    table = c.fetch[fetch_regime(h)]
    slot = (vpage >> 12) & (FETCH_ENTRIES - 1)
    table.entries[slot].tag = vpage
    table.entries[slot].page = number
    table.used = True
    if h.walk_global == 0:
        table.local = True


@fn
def find(h: Hart, c: Cache, vpage: u64, host: u64) -> u64:
    """The number of the code page of (virtual page, host page); made if need be."""
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
    page.regions = 0
    page.chain = c.buckets[bucket]
    for i in range(HALFWORDS):
        page.entry[i] = 0
    for i in range(HALFWORDS // 64):
        page.known[i] = 0
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
        number = atomic_add(c.library.marks, 1) + 1
        for i in range(c.harts):
            other = cast(Cache, c.library.caches[i])
            if other.hart_bit != c.hart_bit:
                atomic_store(other.protect_asked, 1)
                atomic_or(cast(Hart, other.hart).poll, POLL_ENGINE)
        if c.unsettled_count < UNSETTLED:
            c.unsettled[c.unsettled_count] = page.number
            c.unsettled_mark[c.unsettled_count] = number
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
def forget_entries(c: Cache, page: CodePage) -> None:
    """Throw one page's translations away; it stays marked. The caller must not return into them."""
    if page.regions != 0:
        hooks.kill_all_of(c, page)
    for i in range(HALFWORDS):
        page.entry[i] = 0
    for i in range(HALFWORDS // 64):
        page.known[i] = 0
    clear_jumps(c)


@fn
def forget_page(h: Hart, c: Cache, page: CodePage) -> None:
    """Throw one page's translations away, and with them the interest in stores to it."""
    forget_entries(c, page)
    unmark(h, c, page)


@fn
def forget_all(h: Hart, c: Cache) -> None:
    """Throw all translations away (the arena is full, or something changed that is too rare to be clever about)."""
    for i in range(c.page_count):
        page = code_page(c, i)
        if page.marked:
            unmark(h, c, page)
    hooks.forget(c)
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


@fn(export=True)
def reset_hart(h: Hart) -> None:
    """Begin with nothing: everything translated so far is forgotten."""
    tlb.reset(h)
    c = cache_of(h)
    forget_all(h, c)
    h.engine[E_JUMPS] = addr_of(c.jumps[fetch_regime(h)])


@fn
def clear_fetch(c: Cache) -> None:
    """Forget where fetches lead."""
    for r in range(FETCH_REGIMES):
        clear_fetch_of(c, r)
    clear_jumps(c)


@fn
def clear_fetch_of(c: Cache, regime: u64) -> None:
    """The same of one regime, without jumps."""
    table = c.fetch[regime]
    if table.used:
        table.used = False
        table.local = False
        for i in range(FETCH_ENTRIES):
            table.entries[i].tag = NOWHERE


@fn
def clear_jumps(c: Cache) -> None:
    """Forget every jump target."""
    c.epoch += 1
    for r in range(FETCH_REGIMES):
        clear_jumps_of(c, r)


@fn
def clear_jumps_of(c: Cache, regime: u64) -> None:
    """The same of one regime."""
    table = c.jumps[regime]
    if table.used:
        table.used = False
        for i in range(JUMP_ENTRIES):
            table.entries[i].pc = NOWHERE
        for i in range(JUMP_PAGES // 64):
            table.pages[i] = 0


@fn
def forget_local_fetches(h: Hart, c: Cache) -> None:
    """Another address space: forget where fetches lead below machine mode, unless it is the same in all of them."""
    c.epoch += 1
    for r in range(MACHINE_FETCHES):
        if c.fetch[r].local:
            clear_fetch_of(c, r)
            clear_jumps_of(c, r)
            if r != 0:
                tlb.renew_views(h)


@fn
def forget_fetches(c: Cache, vaddr: u64) -> bool:
    """Forget where fetches from one page lead, and jumps there. True if a region may go on there."""
    vpage = vaddr & PAGE_MASK
    slot = (vpage >> 12) & (FETCH_ENTRIES - 1)
    c.epoch += 1
    for r in range(MACHINE_FETCHES):
        if c.fetch[r].entries[slot].tag == vpage:
            c.fetch[r].entries[slot].tag = NOWHERE
        forget_jumps(c, r, vpage)
    bit = (vpage >> 12) & (REGION_PAGES - 1)
    return c.optimizing.page_bits[bit >> 6] >> (bit & 63) & 1 != 0


@fn
def forget_jumps(c: Cache, regime: u64, vpage: u64) -> None:
    """Forget the jumps of one regime that lead to a page."""
    table = c.jumps[regime]
    bit = (vpage >> 12) & (JUMP_PAGES - 1)
    if table.pages[bit >> 6] >> (bit & 63) & 1 != 0:
        for i in range(JUMP_ENTRIES):
            if table.entries[i].pc & PAGE_MASK == vpage:
                table.entries[i].pc = NOWHERE
