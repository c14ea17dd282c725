"""The vector instructions as a native library of its own: its entry, and how it reaches the harts' code (vector)."""

from __future__ import annotations

from typing import Any

from popek.engine.vector import DONE, ELSEWHERE, TRAPPED
from popek.isa import ports
from popek.isa.hart import Hart
from popek.isa.v import VALUE
from popek.isa.vector.table import arithmetic, execute
from popek.lang import Trap, at_u64, extern, fn, u32, u64

NOT_HERE = 1 << 62  # no cause of a trap


@extern("popek_vector_load")
def load_for(h: Hart, addr: u64, size: u64, into: u64) -> u64: ...


@extern("popek_vector_store")
def store_for(h: Hart, addr: u64, size: u64, value: u64) -> u64: ...


@extern("popek_vector_view")
def view_for(h: Hart, addr: u64, writing: u64) -> u64: ...


@fn
def element_load(h: Hart, addr: u64, size: u64) -> u64:
    """isa.ports.element_load"""
    if load_for(h, addr, size, h.vector + VALUE) != 0:
        raise Trap(h.trap_cause, h.trap_tval)
    return at_u64(h.vector + VALUE).value


@fn
def element_store(h: Hart, addr: u64, size: u64, value: u64) -> None:
    """isa.ports.element_store"""
    if store_for(h, addr, size, value) != 0:
        raise Trap(h.trap_cause, h.trap_tval)


@fn
def element_view(h: Hart, addr: u64, writing: bool) -> u64:
    """isa.ports.element_view"""
    return view_for(h, addr, u64(writing))


@fn(export=True)
def run(h: Hart, word: u64) -> u64:
    """Execute an instruction."""
    try:
        execute(h, u32(word))
    except Trap:
        return ELSEWHERE if h.trap_cause == NOT_HERE else TRAPPED
    return DONE


@fn
def elsewhere(h: Hart, word: u32) -> None:
    """Stands for table.arithmetic in the small library."""
    raise Trap(NOT_HERE, 0)


def text(parts: int, whole: bool) -> list[str]:
    """The library as LLVM IR, in so many modules."""
    from popek.lang.llvm import Program

    bound: dict[Any, Any] = {
        ports.element_load: element_load,
        ports.element_store: element_store,
        ports.element_view: element_view,
    }
    return Program([run], bound, {} if whole else {arithmetic: elsewhere}).split(parts, [run])
