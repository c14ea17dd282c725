"""Reservation sets: how a store-conditional notices that another hart came between.

Unprivileged ISA, "Zalrsc": an SC must fail if a store from another hart to the reservation set can be observed between
LR and SC. A reservation set is all that shares one of `Board.versions`. Its version is odd while an SC or AMO is at
work there, and another one afterwards; so SC fails even if such an instruction put the loaded value back (ABA). Plain
stores change no version, because that would cost each of them. For them SC compares the value, and is deceived only if
plain stores of other harts, or of devices, took it away and brought it back.

A hart alone needs no versions. Nothing between `claim` and `release` traps or waits, so whoever waits, waits briefly.
A set's SC fails only when another instruction there succeeded, or memory changed: some hart always gets on.
"""
from __future__ import annotations

from typing import Any

from popek.isa.hart import VERSIONS, Hart
from popek.isa.ports import spins
from popek.lang import at_u32, at_u64, atomic_cas, atomic_load, atomic_release, fn, u32, u64


@fn(inline=True)
def version_at(host: u64) -> u64:
    """Which version is that of a host address. Words of a cache line share a line of versions, those of others do not,
    nor do addresses at distances of powers of two up to 8 MiB.
    """
    return (host ^ host >> 9) >> 3 & (VERSIONS - 1)


@fn
def steady(h: Hart, i: u64) -> u64:
    """Version `i`, once nobody is at work there. Meanwhile others run: who is may have lost its turn."""
    seen = atomic_load(h.board.versions[i])
    while seen & 1 != 0:
        spins(h)
        seen = atomic_load(h.board.versions[i])
    return seen


@fn(inline=True)
def reserve(h: Hart, host: u64) -> None:
    """Before LR loads."""
    if h.board.shared != 0:
        h.reservation_version = steady(h, version_at(host))


@fn(inline=True)
def claim(h: Hart, host: u64) -> u64:
    """Before an AMO works on memory; what `release` wants."""
    b = h.board
    if b.shared == 0:
        return 0
    i = version_at(host)
    while True:
        seen = steady(h, i)
        if atomic_cas(b.versions[i], seen, seen + 1):
            return i + 1


@fn(inline=True)
def release(h: Hart, claimed: u64) -> None:
    """After it."""
    if claimed != 0:
        b = h.board
        atomic_release(b.versions[claimed - 1], atomic_load(b.versions[claimed - 1]) + 1)


def _store_reserved(value: Any, at: Any) -> Any:
    @fn(inline=True)
    def store_reserved(h: Hart, host: u64, new: value) -> bool:
        """What SC does to memory, and whether it does."""
        b = h.board
        if b.shared == 0:
            return atomic_cas(at(host), value(h.reservation_value), new)
        i = version_at(host)
        if not atomic_cas(b.versions[i], h.reservation_version, h.reservation_version + 1):
            return False
        stored = atomic_cas(at(host), value(h.reservation_value), new)
        atomic_release(b.versions[i], atomic_load(b.versions[i]) + 1)
        return stored

    return store_reserved


store_reserved_u32, store_reserved_u64 = _store_reserved(u32, at_u32), _store_reserved(u64, at_u64)
