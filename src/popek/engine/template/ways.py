"""LLVM IR text of what regions of the optimizing engine use: the ways out, and the functions that fill a view.

Lives here: templates that are copied once for each hart; optimizing.image.Symbol names them. A region hands over the
exact count and, in the scratch register, a guest address. Not here: what happens then (run, optimizing.views).
"""

from collections.abc import Iterator

from popek.engine.optimizing.state import E_FILL_READ, E_FILL_WRITE, E_INSIDE, E_REFRESH, E_STEP, IN_REGION, View
from popek.engine.optimizing.views import NEIGHBOURS
from popek.engine.template.layout import JUMP_ENTRIES, Jump
from popek.engine.template.templates import engine, field, glue, jump_table, tail, template, through_cache
from popek.engine.tlb import E_READ_GENERATION, E_WRITE_GENERATION, ENTRIES, PAGE, Entry
from popek.isa.hart import Hart

SMALL = (2 * NEIGHBOURS + 1) * PAGE  # a view up to that size is one of 4 KiB pages


def _leave(name: str, polls: bool) -> str:
    """FAR and INDIRECT: go to the address in %scratch."""
    shift = Jump.size.bit_length() - 2
    body = f"""{jump_table()}
  %i0 = shl i64 %scratch, {shift}
  %i1 = and i64 %i0, {(JUMP_ENTRIES - 1) * Jump.size}
  %je = getelementptr i8, ptr %jt, i64 %i1
  %c1 = add i64 %count, 0
"""
    return template(name, body + through_cache("%scratch", polls, IN_REGION))


def _poll(name: str) -> str:
    """POLL: a poll point with something to do; run.resolve is told by its argument."""
    store = f"""{field(Hart.offset("pc"), "%pca")}
  store i64 %scratch, ptr %pca
"""
    return template(name, store + tail("@hole_glue_resolve", scratch=str(1 | IN_REGION)))


def _counting(name: str, operation: str) -> str:
    """Put in the way of what enters and leaves regions: E_INSIDE minus the count, then plus the count."""
    body = f"""{field(engine(E_INSIDE), "%ia")}
  %i = load i64, ptr %ia
  %n = {operation} i64 %i, %count
  store i64 %n, ptr %ia
"""
    return template(name, body + tail("@hole_taken", scratch="%scratch"))


def _view(name: str, word: int, generation: int, half: int) -> str:
    """FILL_READ, FILL_WRITE: functions that leave all registers alone but that of the result.

    Where pages are small, one view cannot serve accesses here and there: then what the TLB knows is taken at once.
    """
    return f"""define preserve_mostcc i1 @{name}(ptr %h, i64 %addr, ptr %view, i64 %span) #100 {{
  %limita = getelementptr i8, ptr %view, i64 {View.offset("limit")}
  %limit = load i64, ptr %limita
  %less = add i64 %limit, -1
  %small = icmp ult i64 %less, {SMALL}
  br i1 %small, label %lookup, label %slow
lookup:
  %span1 = add i64 %span, -1
  %last = add i64 %addr, %span1
  %across = xor i64 %addr, %last
  %page = and i64 %addr, {-PAGE}
  %inside = icmp ult i64 %across, {PAGE}
{field(Hart.offset("tlb"), "%tlba")}
  %tlb = load ptr, ptr %tlba
  %index0 = lshr i64 %addr, 8
  %index = and i64 %index0, {(ENTRIES - 1) * Entry.size}
  %half = getelementptr i8, ptr %tlb, i64 {half}
  %entry = getelementptr i8, ptr %half, i64 %index
  %tag = load i64, ptr %entry
{field(engine(generation), "%ga")}
  %generation = load i64, ptr %ga
  %wanted = or i64 %page, %generation
  %same = icmp eq i64 %tag, %wanted
  %good = and i1 %inside, %same
  br i1 %good, label %hit, label %slow, !prof !100
hit:
  %addenda = getelementptr i8, ptr %entry, i64 {Entry.offset("addend")}
  %addend = load i64, ptr %addenda
  %size = sub i64 {PAGE}, %span1
  store i64 %page, ptr %view
  store i64 %size, ptr %limita
  %viewa = getelementptr i8, ptr %view, i64 {View.offset("addend")}
  store i64 %addend, ptr %viewa
  ret i1 true
slow:
{field(engine(word), "%fa")}
  %f = load ptr, ptr %fa
  %r = call i64 %f(ptr %h, i64 %addr, ptr %view, i64 %span)
  %b = icmp ne i64 %r, 0
  ret i1 %b
}}
"""


def fixed() -> Iterator[tuple[str, str]]:
    """Names as in layout.FIXED, and texts."""
    yield "region_step", glue("region_step", E_STEP)
    yield "region_far", _leave("region_far", False)
    yield "region_poll", _poll("region_poll")
    yield "region_indirect", _leave("region_indirect", True)
    yield "region_refresh", glue("region_refresh", E_REFRESH)
    yield "region_read", _view("region_read", E_FILL_READ, E_READ_GENERATION, 0)
    yield "region_write", _view("region_write", E_FILL_WRITE, E_WRITE_GENERATION, ENTRIES * Entry.size)
    yield "region_entered", _counting("region_entered", "sub")
    yield "region_left", _counting("region_left", "add")
