"""Inline caches of the TLB: each template that accesses memory has a cell, one TLB entry of its own, at a fixed place.

A cell hit needs no table lookup: neither its tag nor its addend depends on the address, so the access costs one
compare beside the latency of the load itself. What misses the cell leaves for the slow path, which fills the cell. An
access whose cell fails often gets code that tries the table instead, and keeps what it finds there in the cell; what
misses the table leaves, too. All this gives up with a bare Trap before anything happened.

Lives here: the two substitutes of isa.memory's accesses. Not here: the table (engine/tlb), the text around (rules).
"""

from __future__ import annotations

from typing import Any

from popek.engine.tlb import read_entry, read_tag, write_entry, write_tag
from popek.isa import a, fp, memory, reservation
from popek.isa.hart import Hart
from popek.lang import Trap, at_u8, at_u16, at_u32, at_u64, atomic_load, fn, u8, u16, u32, u64, unlikely

ADDEND = "getelementptr (i8, ptr @hole_cell, i64 8)"
SIZES = ((8, u8, at_u8), (16, u16, at_u16), (32, u32, at_u32), (64, u64, at_u64))


def _load(place: str) -> Any:
    def build(symbol: str) -> tuple[str, list[str]]:
        text = f"""define internal i64 @"{symbol}"() alwaysinline nounwind {{
  %v = load i64, ptr {place}
  ret i64 %v
}}
"""
        return text, []

    return build


def _store(symbol: str) -> tuple[str, list[str]]:
    text = f"""define internal void @"{symbol}"(i64 %tag, i64 %addend) alwaysinline nounwind {{
  store i64 %tag, ptr @hole_cell
  store i64 %addend, ptr {ADDEND}
  ret void
}}
"""
    return text, []


@fn(native=_load("@hole_cell"))
def cell_tag() -> u64:
    """The tag of this template's cell."""
    return 0


@fn(native=_load(ADDEND))
def cell_addend() -> u64:
    """The addend of this template's cell."""
    return 0


@fn(native=_store)
def set_cell(tag: u64, addend: u64) -> None:
    """Keep an entry in this template's cell."""


def _addend(entry: Any, tag_of: Any, through_table: bool) -> Any:
    """A function that gives the addend for an access of `last` + 1 bytes at `addr`, or raises.

    A cell serves aligned accesses only: nothing in it would tell one that begins in the page before.
    """
    if not through_table:

        @fn(inline=True)
        def by_cell(h: Hart, addr: u64, last: u64) -> u64:
            if unlikely(tag_of(h, addr) | (addr & last) != cell_tag()):
                raise Trap(0, 0)
            return cell_addend()

        return by_cell

    @fn(inline=True)
    def by_table(h: Hart, addr: u64, last: u64) -> u64:
        e = entry(h, addr)
        tag = tag_of(h, addr + last)
        if unlikely(e.tag != tag):
            raise Trap(0, 0)
        set_cell(tag, e.addend)
        return e.addend

    return by_table


def _accesses(n: int, value: Any, at: Any, read: Any, write: Any) -> tuple[Any, Any]:
    last = n // 8 - 1

    @fn(inline=True)
    def load(h: Hart, addr: u64) -> value:
        return value(at(read(h, addr, last) + addr).value)  # naming the type here lets the annotation see it

    @fn(inline=True)
    def store(h: Hart, addr: u64, v: value) -> None:
        at(write(h, addr, last) + addr).value = value(v)

    return load, store


def _address(addend: Any) -> Any:
    @fn(inline=True)
    def address(h: Hart, addr: u64, size: u64) -> u64:
        if unlikely(addr & (size - 1) != 0):
            raise Trap(0, 0)
        return addend(h, addr, 0) + addr

    return address


@fn(inline=True)
def no_reservation(h: Hart, addr: u64, size: u64) -> u64:
    """An SC without reservation: the slow path knows what to do."""
    raise Trap(0, 0)


@fn(inline=True)
def steady(h: Hart, i: u64) -> u64:
    """Version `i` of the reservation sets; to wait for it is the slow path's."""
    seen = atomic_load(h.board.versions[i])
    if unlikely(seen & 1 != 0):
        raise Trap(0, 0)
    return seen


@fn(inline=True)
def not_code(h: Hart, host: u64) -> None:
    """After a store: a page with a write entry holds no code, there is nobody to tell."""


@fn(inline=True)
def block_not_code(h: Hart, host: u64, size: u64) -> None:
    """The same, after a block was stored."""


def substitutes(through_table: bool) -> dict[Any, Any]:
    """What templates call instead of functions that may have to walk page tables, or think long."""
    read, write = _addend(read_entry, read_tag, through_table), _addend(write_entry, write_tag, through_table)
    made: dict[Any, Any] = {
        memory.atomic_address: _address(write),
        memory.reserve_address: _address(read),
        memory.host_written: not_code,
        memory.block_written: block_not_code,
        a.store_conditional_failed: no_reservation,
        reservation.steady: steady,
        **fp.TRY,
    }
    for n, value, at in SIZES:
        made[getattr(memory, f"load_u{n}")], made[getattr(memory, f"store_u{n}")] = _accesses(n, value, at, read, write)
    return made
