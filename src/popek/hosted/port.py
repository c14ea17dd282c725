"""The hosted monitor's operations on Linux: clock, futex, yield, and the call of a device model."""
from __future__ import annotations

import platform

from popek.lang import addr_of, atomic_add, extern, fn, i32, i64, invoke, u32, u64
from popek.vmm.vm import NEVER, Access, Waiter

FUTEX = {"x86_64": 202}.get(platform.machine(), 98)     # the number of the generic table everywhere else
WAIT_UNTIL = 9 | 128           # FUTEX_WAIT_BITSET: its time is a moment of CLOCK_MONOTONIC; private
WAKE = 1 | 128
ALL_BITS = 0xFFFF_FFFF
ALL_SLEEPERS = 0x7FFF_FFFF
CLOCK_REALTIME, CLOCK_MONOTONIC = 0, 1


@extern("clock_gettime")
def clock_gettime(clock: i32, place: u64) -> i32: ...


@extern("syscall")
def syscall(number: u64, a: u64, b: u64, c: u64, d: u64, e: u64, f: u64) -> i64: ...


@extern("sched_yield")
def sched_yield() -> i32: ...


@extern("poll")
def poll(place: u64, count: u64, milliseconds: i32) -> i32: ...


@fn
def clock(w: Waiter, number: i32) -> u64:
    """Nanoseconds of a host clock."""
    clock_gettime(number, addr_of(w.seconds))
    return w.seconds * 1_000_000_000 + w.nanoseconds


@fn
def monotonic(w: Waiter) -> u64:
    """vmm.port.monotonic"""
    return clock(w, CLOCK_MONOTONIC)


@fn
def realtime(w: Waiter) -> u64:
    """Nanoseconds since 1970."""
    return clock(w, CLOCK_REALTIME)


@fn
def sleep(w: Waiter, value: u32, until: u64) -> None:
    """vmm.port.sleep"""
    place: u64 = 0
    if until != NEVER:
        w.seconds = until // 1_000_000_000
        w.nanoseconds = until % 1_000_000_000
        place = addr_of(w.seconds)
    syscall(FUTEX, addr_of(w.word), WAIT_UNTIL, u64(value), place, 0, ALL_BITS)


@fn
def wake(w: Waiter) -> None:
    """vmm.port.wake"""
    atomic_add(w.word, 1)
    syscall(FUTEX, addr_of(w.word), WAKE, ALL_SLEEPERS, 0, 0, 0)


@fn
def give_way() -> None:
    """vmm.port.give_way"""
    sched_yield()


@fn
def pause(place: u64, count: u64, milliseconds: u32) -> bool:
    """engine.optimizing.watching.pause"""
    return poll(place, count, i32(milliseconds)) > 0


@fn
def host_device(function: u64, access: Access) -> bool:
    """vmm.port.host_device: a C function of one pointer, that returns 0 when it has answered."""
    return function != 0 and invoke(u64, function, addr_of(access)) == 0
