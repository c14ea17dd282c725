"""Which regions a code page belongs to: what has to go when its translations go.

Lives here: killing regions and putting the others back where templates find them. Called by template/pages, which
clears the jump cache afterwards. Not here: installing (regions).
"""

from popek.engine.optimizing.state import REGION_PAGES, Region, RegionData
from popek.engine.template.layout import HALFWORDS, Cache, CodePage
from popek.engine.tlb import PAGE
from popek.lang import Ptr, cast, fn, u16, u32, u64


@fn(inline=True)
def region(c: Cache, number: u64) -> Ptr[Region]:
    """The region of that number."""
    return cast(Region, c.optimizing.regions + number * Region.size)


@fn(inline=True)
def page_of(c: Cache, number: u64) -> CodePage:
    """The code page of that number (as pages.code_page, which is above this module)."""
    return cast(CodePage, c.pages + number * CodePage.size)


@fn
def spans(r: Region, page: CodePage, first: u64, last: u64) -> bool:
    """Was any of the bytes first..last of the page used to make the region?"""
    i: u64 = 0
    while i < u64(r.pages):
        if r.of[i] == page.number and u64(r.low[i]) <= last and u64(r.high[i]) >= first:
            return True
        i += 1
    return False


@fn
def any_over(c: Cache, page: CodePage, first: u64, last: u64) -> bool:
    """Does any region depend on bytes first..last of the page?"""
    if page.regions == 0:
        return False
    i: u64 = 0
    while i < c.optimizing.count:
        if region(c, i).live != 0 and spans(region(c, i), page, first, last):
            return True
        i += 1
    return False


@fn
def clear(c: Cache, page: CodePage) -> None:
    """Throw one page's templates away, so that nothing is linked to what is entered here; keep its regions.

    The caller clears the jump cache.
    """
    for slot in range(HALFWORDS):
        if page.entry[slot] != 0:
            page.known[slot >> 6] |= u64(1) << (slot & 63)
            page.entry[slot] = 0
    if page.regions != 0:
        i: u64 = 0
        while i < c.optimizing.count:
            r = region(c, i)
            if r.live != 0 and r.page == page.number:
                page.entry[u64(r.slot)] = r.code
                page.seq[u64(r.slot)] = u16(0)
            i += 1


@fn
def kill(c: Cache, r: Region) -> None:
    """Unhook a region for good. The caller clears the jump cache."""
    r.live = 0
    cast(RegionData, r.data).valid = 0
    i: u64 = 0
    while i < u64(r.pages):
        page_of(c, u64(r.of[i])).regions -= 1
        i += 1
    clear(c, page_of(c, u64(r.page)))
    c.optimizing.discarded += 1


@fn
def kill_all_of(c: Cache, page: CodePage) -> None:
    """Unhook every region that has to do with a page. The caller clears the jump cache."""
    i: u64 = 0
    while i < c.optimizing.count:
        r = region(c, i)
        if r.live != 0 and spans(r, page, 0, PAGE - 1):
            kill(c, r)
        i += 1


@fn
def forget(c: Cache) -> None:
    """All translations go, and regions with them."""
    o = c.optimizing
    i: u64 = 0
    while i < o.count:
        r = region(c, i)
        if r.live != 0:
            cast(RegionData, r.data).valid = 0
            r.live = 0
            o.discarded += 1
        i += 1
    o.count = 0
    o.data_position = 0
    for k in range(REGION_PAGES // 64):
        o.page_bits[k] = 0


@fn
def at(c: Cache, page: CodePage, slot: u64) -> bool:
    """Is there a region entered at that halfword?"""
    if page.regions != 0 and page.entry[slot] != 0:
        i: u64 = 0
        while i < c.optimizing.count:
            r = region(c, i)
            if r.live != 0 and r.page == page.number and r.slot == u32(slot):
                return True
            i += 1
    return False
