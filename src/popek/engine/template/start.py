"""Setting the library and one hart's code cache up, natively, so that starting a machine needs no layouts in Python.

Lives here: reading the packed library, the first contents of a Cache, the copies of the glue. Not here: where their
memory comes from (setup).
"""

from __future__ import annotations

from popek.engine.optimizing.image import Symbol
from popek.engine.optimizing.state import E_FILL_READ, E_FILL_WRITE, E_REFRESH, E_STEP, Region
from popek.engine.optimizing.views import view_read, view_write
from popek.engine.template.emit import emit
from popek.engine.template.layout import (
    E_CACHE,
    E_LINK,
    E_RESOLVE,
    E_SLOW,
    E_VECTOR,
    Access,
    Cache,
    CodePage,
    Fixed,
    Hole,
    Library,
    Link,
    Relocation,
    Rule,
    Template,
)
from popek.engine.template.pages import reset_hart
from popek.engine.template.run import link, refresh, resolve, slow_step, step_at, vector_step
from popek.isa.hart import Hart
from popek.lang import addr_of, at_u8, at_u16, at_u32, cast, fn, u32, u64


@fn(export=True)
def sizes(what: u64) -> u64:
    """Bytes of: 0 Cache, 1 Library, 2 CodePage, 3 Link, 4 Access, 5 Region."""
    if what == 0:
        return Cache.size
    if what == 1:
        return Library.size
    if what == 2:
        return CodePage.size
    if what == 3:
        return Link.size
    if what == 4:
        return Access.size
    return Region.size


@fn(inline=True)
def aligned(x: u64) -> u64:
    """Rounded up to 8."""
    return (x + 7) & ~7


@fn(export=True)
def open_library(library: Library, packed: u64) -> None:
    """Fill `library` from the packed form at host address `packed` (library.py), which must stay mapped."""
    templates = u64(at_u32(packed + 8).value)
    relocations = u64(at_u32(packed + 12).value)
    shapes = u64(at_u32(packed + 16).value)
    rules = u64(at_u32(packed + 20).value)
    library.li = at_u32(packed + 32).value
    library.li64 = at_u32(packed + 36).value
    library.mv = at_u32(packed + 40).value
    library.spill = at_u32(packed + 44).value
    library.reload = at_u32(packed + 48).value
    library.jump_register = at_u32(packed + 52).value
    library.call_register = at_u32(packed + 56).value
    library.op_lui = at_u16(packed + 60).value
    library.op_auipc = at_u16(packed + 62).value
    library.op_addi = at_u16(packed + 64).value
    library.op_add = at_u16(packed + 66).value
    for i in range(32):
        library.pin_of[i] = at_u8(packed + 68 + i).value
    library.templates = packed + 104
    library.relocations = aligned(library.templates + templates * Template.size)
    library.shapes = library.relocations + relocations * Relocation.size
    library.rules = aligned(library.shapes + shapes * 2)
    library.code = aligned(library.rules + rules * Rule.size)


@fn(inline=True)
def glue(c: Cache, number: u32) -> u64:
    """Copy a glue template; its code address."""
    at = c.executable + c.position
    emit(c, number)
    c.position = aligned(c.position)
    return at


@fn(export=True)
def initialise(
    h: Hart,
    c: Cache,
    library: Library,
    index: u64,
    harts: u64,
    writable: u64,
    executable: u64,
    arena: u64,
    cells: u64,
    cell_limit: u64,
    accesses: u64,
    pages: u64,
    page_limit: u64,
    links: u64,
    link_limit: u64,
    regions: u64,
    region_limit: u64,
    region_data: u64,
    region_data_limit: u64,
) -> None:
    """Make the zeroed `c` the code cache of hart number `index` of `harts`.

    Addresses are host addresses; `arena` is its size in bytes, `*_limit` how many records its pools hold.
    """
    c.library = library
    c.hart = addr_of(h)
    c.hart_bit = u64(1) << index
    c.harts = harts
    library.caches[index] = addr_of(c)
    c.writable = writable
    c.executable = executable
    c.position = 64
    c.limit = arena
    c.tlbs.cells = cells
    c.cell_limit = cell_limit
    c.accesses = accesses
    c.pages = pages
    c.page_limit = page_limit
    c.links = links
    c.link_limit = link_limit
    o = c.optimizing
    o.regions = regions
    o.limit = region_limit
    o.data = region_data
    o.data_limit = region_data_limit
    h.engine[E_CACHE] = addr_of(c)
    h.engine[E_SLOW] = addr_of(slow_step)
    h.engine[E_LINK] = addr_of(link)
    h.engine[E_RESOLVE] = addr_of(resolve)
    h.engine[E_VECTOR] = addr_of(vector_step)
    h.engine[E_STEP] = addr_of(step_at)
    h.engine[E_REFRESH] = addr_of(refresh)
    h.engine[E_FILL_READ] = addr_of(view_read)
    h.engine[E_FILL_WRITE] = addr_of(view_write)
    c.leave = glue(c, Fixed.LEAVE)
    c.enter = glue(c, Fixed.ENTER)
    c.holes[Hole.GLUE_SLOW] = glue(c, Fixed.GLUE_SLOW)
    c.holes[Hole.GLUE_LINK] = glue(c, Fixed.GLUE_LINK)
    c.holes[Hole.GLUE_RESOLVE] = glue(c, Fixed.GLUE_RESOLVE)
    o.glue[Symbol.STEP] = glue(c, Fixed.REGION_STEP)
    o.glue[Symbol.FAR] = glue(c, Fixed.REGION_FAR)
    o.glue[Symbol.POLL] = glue(c, Fixed.REGION_POLL)
    o.glue[Symbol.INDIRECT] = glue(c, Fixed.REGION_INDIRECT)
    o.glue[Symbol.REFRESH] = glue(c, Fixed.REGION_REFRESH)
    o.glue[Symbol.FILL_READ] = glue(c, Fixed.REGION_READ)
    o.glue[Symbol.FILL_WRITE] = glue(c, Fixed.REGION_WRITE)
    c.floor = c.position
    reset_hart(h)


@fn(export=True)
def measure(h: Hart) -> None:
    """Measure also what costs time to be measured (Cache.measured). The hart has not run yet."""
    c = cast(Cache, h.engine[E_CACHE])
    c.measured = True
    for way in range(Symbol.STEP, Symbol.REFRESH + 1):
        c.holes[Hole.TAKEN] = c.optimizing.glue[way]
        c.optimizing.glue[way] = glue(c, Fixed.REGION_LEFT)
    c.floor = c.position
