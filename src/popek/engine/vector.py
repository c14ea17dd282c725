"""What vector instructions get from the machine around them, and how native code comes to execute them.

Their own native code (vector_library) is a library apart, which most guests never need: the first vector instruction
asks for it (v.LOADER). It gets a small one with loads, stores and vset*, all that kernels need to copy, and the whole
as soon as that is not enough. They reach guest memory through the functions here.
"""

from __future__ import annotations

from typing import Any

from popek.isa import memory, ports
from popek.isa.fp import host_flags_enter, host_flags_leave
from popek.isa.hart import ILLEGAL_INSTRUCTION, Hart
from popek.isa.v import ENTRY, LOADER
from popek.lang import Trap, addr_of, at_u64, atomic_load, fn, invoke, u8, u16, u32, u64, unlikely

#: What a library's entry answers; ELSEWHERE: the instruction is not in it.
DONE, TRAPPED, ELSEWHERE = 0, 1, 2
#: What the loader is asked for.
ACCESSES, WHOLE = 0, 1


@fn
def element_load(h: Hart, addr: u64, size: u64) -> u64:
    """isa.ports.element_load"""
    if size == 1:
        return u64(memory.load_u8(h, addr))
    if size == 2:
        return u64(memory.load_u16(h, addr))
    if size == 4:
        return u64(memory.load_u32(h, addr))
    return memory.load_u64(h, addr)


@fn
def element_store(h: Hart, addr: u64, size: u64, value: u64) -> None:
    """isa.ports.element_store"""
    if size == 1:
        memory.store_u8(h, addr, u8(value))
    elif size == 2:
        memory.store_u16(h, addr, u16(value))
    elif size == 4:
        memory.store_u32(h, addr, u32(value))
    else:
        memory.store_u64(h, addr, value)


@fn
def element_view(h: Hart, addr: u64, writing: bool) -> u64:
    """isa.ports.element_view; a page that holds translated code is not written directly."""
    try:
        if not writing:
            return memory.reserve_address(h, addr, 1)
        host = memory.atomic_address(h, addr, 1)
        return 0 if memory.holds_code(h, host) else host
    except Trap:
        return 0


@fn(export=True)
def load_for(h: Hart, addr: u64, size: u64, into: u64) -> u64:
    """element_load for the library: 1 if it trapped."""
    try:
        at_u64(into).value = element_load(h, addr, size)
    except Trap:
        return 1
    return 0


@fn(export=True)
def store_for(h: Hart, addr: u64, size: u64, value: u64) -> u64:
    """element_store for the library."""
    try:
        element_store(h, addr, size, value)
    except Trap:
        return 1
    return 0


@fn(export=True)
def view_for(h: Hart, addr: u64, writing: u64) -> u64:
    """element_view for the library."""
    return element_view(h, addr, writing != 0)


@fn(cold=True)
def fetch_library(h: Hart, wanted: u64) -> None:
    """Have v.ENTRY filled in. If that fails, the instruction is illegal."""
    host_flags_leave(h)
    failed = invoke(u64, at_u64(h.vector + LOADER).value, addr_of(h), wanted) != 0
    host_flags_enter(h)
    if failed:
        raise Trap(ILLEGAL_INSTRUCTION, 0)


@fn
def vector(h: Hart, word: u32) -> None:
    """isa.ports.vector, natively."""
    if atomic_load(at_u64(h.vector + ENTRY)) == 0:
        fetch_library(h, ACCESSES)
    answer = invoke(u64, at_u64(h.vector + ENTRY).value, addr_of(h), u64(word))
    if unlikely(answer == ELSEWHERE):
        fetch_library(h, WHOLE)
        answer = invoke(u64, at_u64(h.vector + ENTRY).value, addr_of(h), u64(word))
    if answer != DONE:
        raise Trap(h.trap_cause, h.trap_tval)


def exports() -> list[object]:
    """What the library asks for."""
    return [load_for, store_for, view_for]


#: What the ports of isa/vector are, where it is not in a library.
PORTS: dict[Any, Any] = {
    ports.element_load: element_load,
    ports.element_store: element_store,
    ports.element_view: element_view,
}
