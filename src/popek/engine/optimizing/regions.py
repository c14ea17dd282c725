"""Regions on their hart: installing an image, and looking again whether an installed one still holds.

Lives here: what runs on the hart's own thread, which alone may touch its tables and its arena. Not here: what an image
is (image), what kills regions (hooks), views (views), who decides what to install (manager).

A region may be entered whenever its RegionData.valid is the hart's E_VIEW: then its pages are still where they were.
Its code calls REFRESH otherwise, which ends here. That its bytes are unchanged is what the marks on its pages are for.
"""

from __future__ import annotations

from popek.engine.optimizing import hooks, views
from popek.engine.optimizing.image import MAX_PAGES, RegionFlag, Reloc, Symbol
from popek.engine.optimizing.intact import same, well_formed
from popek.engine.optimizing.state import (
    BAD,
    ELSEWHERE,
    INSTALLED,
    REGION_PAGES,
    RELOCATION_BYTES,
    SPAN_BYTES,
    STALE,
    THERE,
    Region,
    RegionData,
    View,
)
from popek.engine.template.emit import emit
from popek.engine.template.layout import FETCH_ENTRIES, RUN_BYTES, Cache, CodePage, Fixed, Hole
from popek.engine.template.pages import (
    clear_jumps,
    code_page,
    enter,
    fetch_regime,
    find,
    forget_all,
    mark,
    unmark,
)
from popek.engine.tlb import E_VIEW, PAGE, PAGE_MASK
from popek.isa import paging
from popek.isa.hart import Hart
from popek.isa.paging import EXECUTE
from popek.lang import Trap, at_u16, at_u32, at_u64, cast, fn, i32, i64, memcpy, u16, u32, u64

ALIGN = 64  # constants stand behind the code, and the processor wants them aligned
NOWHERE = 1 << 63  # no host address


@fn
def shown(h: Hart, vpage: u64, mode: u32) -> u64:
    """Host address of the page that fetches in `mode` from `vpage` would come from; NOWHERE if none, or not at once."""
    try:
        host = paging.ram_address(h, paging.peek(h, vpage, EXECUTE, mode))
        if host != 0:
            return host
    except Trap:
        pass
    return NOWHERE


@fn
def leads_to(h: Hart, c: Cache, page: CodePage) -> bool:
    """Do fetches from the page's virtual address come from it, in the hart's present mode?"""
    table = c.fetch[fetch_regime(h)]
    slot = (page.vpage >> 12) & (FETCH_ENTRIES - 1)
    if table.entries[slot].tag == page.vpage:
        return table.entries[slot].page == u64(page.number)
    if shown(h, page.vpage, h.mode) != page.host:
        return False
    enter(h, c, page.vpage, u64(page.number))
    return True


@fn
def renew(h: Hart, c: Cache, r: Region) -> bool:
    """Make the region valid for the present E_VIEW, with empty views. False: its pages are not what they were."""
    i: u64 = 0
    while i < u64(r.pages):
        if not leads_to(h, c, code_page(c, u64(r.of[i]))):
            return False
        i += 1
    if r.flags & RegionFlag.BARE != 0 and not views.reads_bare(h):
        return False
    data = cast(RegionData, r.data)
    i = 0
    while i < u64(r.views):
        cast(View, r.data + RegionData.size + i * View.size).limit = 0
        i += 1
    data.valid = h.engine[E_VIEW]
    c.optimizing.refreshed += 1
    return True


@fn
def unhook(c: Cache, r: Region) -> None:
    """Forget a region that no longer holds."""
    hooks.kill(c, r)
    clear_jumps(c)


@fn
def note_span(r: Region, number: u32, first: u64, last: u64) -> bool:
    """Widen what the region was made from. False: too many pages."""
    i: u64 = 0
    while i < u64(r.pages):
        if r.of[i] == number:
            if first < u64(r.low[i]):
                r.low[i] = u16(first)
            if last > u64(r.high[i]):
                r.high[i] = u16(last)
            return True
        i += 1
    if i == MAX_PAGES:
        return False
    r.of[i] = number
    r.low[i] = u16(first)
    r.high[i] = u16(last)
    r.pages += 1
    return True


@fn
def compare(h: Hart, c: Cache, r: Region, image: u64, base: u64, mode: u32) -> u64:
    """Find the pages of all spans as `mode` sees them, and compare: INSTALLED if everything is there. Marks nothing."""
    span = image + u64(at_u32(image + 28).value)
    end = span + u64(at_u32(image + 32).value) * SPAN_BYTES
    guest = image + u64(at_u32(image + 36).value)
    r.pages = 0
    while span < end:
        vpage = base + u64(i64(i32(at_u32(span).value))) * PAGE
        first, length = u64(at_u16(span + 4).value), u64(at_u16(span + 6).value)
        host = shown(h, vpage, mode)
        if host == NOWHERE:
            return ELSEWHERE
        if not same(guest, host + first, length):
            return STALE
        number = u32(find(h, c, vpage, host))
        if not note_span(r, number, first, first + length - 1):
            return BAD
        guest += length
        span += SPAN_BYTES
    return INSTALLED


@fn
def settle(h: Hart, c: Cache, r: Region, image: u64) -> bool:
    """Mark the pages, then compare once more: from here on nobody changes the bytes unnoticed."""
    i: u64 = 0
    while i < u64(r.pages):
        page = code_page(c, u64(r.of[i]))
        page.regions += 1
        if not page.marked:
            mark(h, c, page)
        i += 1
    span = image + u64(at_u32(image + 28).value)
    end = span + u64(at_u32(image + 32).value) * SPAN_BYTES
    guest = image + u64(at_u32(image + 36).value)
    first_page = code_page(c, u64(r.page)).vpage
    while span < end:
        vpage = first_page + u64(i64(i32(at_u32(span).value))) * PAGE
        i = 0
        while code_page(c, u64(r.of[i])).vpage != vpage:
            i += 1
        length = u64(at_u16(span + 6).value)
        if not same(guest, code_page(c, u64(r.of[i])).host + u64(at_u16(span + 4).value), length):
            return False
        guest += length
        span += SPAN_BYTES
    return True


@fn
def copy(c: Cache, r: Region, image: u64, base: u64) -> None:
    """Put the code at the arena's position, and fill in addresses."""
    o = c.optimizing
    c.position = (c.position + ALIGN - 1) & ~(ALIGN - 1)
    r.code = u32(c.position)
    size = u64(at_u32(image + 16).value)
    target = c.writable + c.position
    code = c.executable + c.position
    memcpy(target, image + u64(at_u32(image + 12).value), size)
    c.position += size
    c.position = (c.position + 15) & ~15
    o.glue[Symbol.BASE] = base
    o.glue[Symbol.DATA] = r.data
    one = image + u64(at_u32(image + 20).value)
    end = one + u64(at_u32(image + 24).value) * RELOCATION_BYTES
    while one < end:
        offset = u64(at_u32(one).value)
        value = o.glue[u64(at_u16(one + 6).value)] + at_u64(one + 8).value
        if u32(at_u16(one + 4).value) == Reloc.ABS64:
            at_u64(target + offset).value = value
        else:
            at_u32(target + offset).value = u32(value - code - offset)
        one += RELOCATION_BYTES
    if c.measured:
        r.code = u32(c.position)
        c.holes[Hole.TAKEN] = code
        emit(c, Fixed.REGION_ENTERED)


@fn
def room(c: Cache, size: u64, data: u64) -> bool:
    """May another region be installed without forgetting anything?"""
    o = c.optimizing
    return (
        c.limit - c.position >= size + 2 * RUN_BYTES
        and o.data_limit - o.data_position >= data
        and o.count < o.limit
        and c.page_limit - c.page_count > MAX_PAGES
    )


@fn(export=True)
def install(h: Hart, image: u64, size: u64, pc: u64, mode: u32) -> u64:
    """Install an image whose entry is `pc` as executed in `mode`, on the hart's thread and outside translated code.

    What became of it: see optimizing.state.
    """
    c = cast(Cache, h.engine[0])
    o = c.optimizing
    if not well_formed(image, size) or u64(at_u32(image + 44).value) != pc & (PAGE - 1):
        return BAD
    base = pc & PAGE_MASK
    data_size = RegionData.size + u64(at_u32(image + 40).value) * View.size
    if not room(c, u64(at_u32(image + 16).value), data_size):
        forget_all(h, c)
    r = hooks.region(c, o.count)
    r.live = 0
    host = shown(h, base, mode)
    if host == NOWHERE:
        return ELSEWHERE
    entry = code_page(c, find(h, c, base, host))
    r.page = entry.number
    r.slot = u32((pc & (PAGE - 1)) >> 1)
    if hooks.at(c, entry, u64(r.slot)):
        return THERE
    found = compare(h, c, r, image, base, mode)
    if found != INSTALLED:
        return found
    i: u64 = 0
    while i < u64(r.pages) and r.of[i] != r.page:
        i += 1
    if i == u64(r.pages):
        return BAD  # it must hold bytes of the page that it is entered in
    r.views = at_u32(image + 40).value
    r.instructions = at_u32(image + 48).value
    r.flags = at_u32(image + 52).value
    r.size = at_u32(image + 16).value
    r.data = o.data + o.data_position
    if not settle(h, c, r, image):
        forsake(h, c, r)
        return STALE
    copy(c, r, image, base)
    o.data_position += data_size
    cast(RegionData, r.data).valid = 0
    cast(RegionData, r.data).number = o.count
    r.live = 1
    o.count += 1
    o.installed += 1
    i = 0
    while i < u64(r.pages):
        bit = (code_page(c, u64(r.of[i])).vpage >> 12) & (REGION_PAGES - 1)
        o.page_bits[bit >> 6] |= u64(1) << (bit & 63)
        i += 1
    hooks.clear(c, entry)
    clear_jumps(c)
    return INSTALLED


@fn(cold=True)
def forsake(h: Hart, c: Cache, r: Region) -> None:
    """The bytes changed while they were compared: give the pages back."""
    i: u64 = 0
    while i < u64(r.pages):
        page = code_page(c, u64(r.of[i]))
        page.regions -= 1
        if page.regions == 0 and nothing(page):
            unmark(h, c, page)
        i += 1


@fn
def nothing(page: CodePage) -> bool:
    """Has the page no translations?"""
    for i in range(PAGE // 2):
        if page.entry[i] != 0:
            return False
    return True
