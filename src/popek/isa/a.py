"""A: load-reserved/store-conditional and atomic memory operations.

Unprivileged ISA, "A Extension for Atomic Instructions".

A reservation is the virtual address, size and loaded value, and the version of the reservation set (isa/reservation).
SC succeeds when memory still holds that value, and no SC or AMO of another hart came between. All accesses are
sequentially consistent, which satisfies every aq and rl.
"""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.isa.memory import atomic_address, host_written, reserve_address
from popek.isa.op import op
from popek.isa.reservation import claim, release, reserve, store_reserved_u32, store_reserved_u64
from popek.lang import (
    at_u32,
    at_u64,
    atomic_add,
    atomic_and,
    atomic_cas,
    atomic_load,
    atomic_or,
    atomic_swap,
    atomic_xor,
    fn,
    i32,
    i64,
    u32,
    u64,
)


@op("00010 aq rl 00000 rs1 010 rd 0101111", "lr.w rd, (rs1)", kind="amo")
def lr_w(h: Hart, rs1: u64) -> u64:
    host = reserve_address(h, rs1, 4)
    reserve(h, host)
    value = atomic_load(at_u32(host))
    h.reservation_addr = rs1 | 1
    h.reservation_value = u64(value)
    return u64(i32(value))


@op("00010 aq rl 00000 rs1 011 rd 0101111", "lr.d rd, (rs1)", kind="amo")
def lr_d(h: Hart, rs1: u64) -> u64:
    host = reserve_address(h, rs1, 8)
    reserve(h, host)
    value = atomic_load(at_u64(host))
    h.reservation_addr = rs1 | 2
    h.reservation_value = value
    return value


@op("00011 aq rl rs2 rs1 010 rd 0101111", "sc.w rd, rs2, (rs1)", kind="amo")
def sc_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    if h.reservation_addr != rs1 | 1:
        return store_conditional_failed(h, rs1, 4)
    host = atomic_address(h, rs1, 4)
    h.reservation_addr = 0
    if not store_reserved_u32(h, host, u32(rs2)):
        return 1
    host_written(h, host)
    return 0


@op("00011 aq rl rs2 rs1 011 rd 0101111", "sc.d rd, rs2, (rs1)", kind="amo")
def sc_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    if h.reservation_addr != rs1 | 2:
        return store_conditional_failed(h, rs1, 8)
    host = atomic_address(h, rs1, 8)
    h.reservation_addr = 0
    if not store_reserved_u64(h, host, rs2):
        return 1
    host_written(h, host)
    return 0


@fn
def store_conditional_failed(h: Hart, addr: u64, size: u64) -> u64:
    """SC without its reservation: stores nothing, gives up any reservation; a misaligned address still raises."""
    if addr & (size - 1) != 0:
        atomic_address(h, addr, size)
    h.reservation_addr = 0
    return 1


@op("00001 aq rl rs2 rs1 010 rd 0101111", "amoswap.w rd, rs2, (rs1)", kind="amo")
def amoswap_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 4)
    claimed = claim(h, host)
    old = atomic_swap(at_u32(host), u32(rs2))
    release(h, claimed)
    host_written(h, host)
    return u64(i32(old))


@op("00001 aq rl rs2 rs1 011 rd 0101111", "amoswap.d rd, rs2, (rs1)", kind="amo")
def amoswap_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 8)
    claimed = claim(h, host)
    old = atomic_swap(at_u64(host), rs2)
    release(h, claimed)
    host_written(h, host)
    return old


@op("00000 aq rl rs2 rs1 010 rd 0101111", "amoadd.w rd, rs2, (rs1)", kind="amo")
def amoadd_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 4)
    claimed = claim(h, host)
    old = atomic_add(at_u32(host), u32(rs2))
    release(h, claimed)
    host_written(h, host)
    return u64(i32(old))


@op("00000 aq rl rs2 rs1 011 rd 0101111", "amoadd.d rd, rs2, (rs1)", kind="amo")
def amoadd_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 8)
    claimed = claim(h, host)
    old = atomic_add(at_u64(host), rs2)
    release(h, claimed)
    host_written(h, host)
    return old


@op("00100 aq rl rs2 rs1 010 rd 0101111", "amoxor.w rd, rs2, (rs1)", kind="amo")
def amoxor_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 4)
    claimed = claim(h, host)
    old = atomic_xor(at_u32(host), u32(rs2))
    release(h, claimed)
    host_written(h, host)
    return u64(i32(old))


@op("00100 aq rl rs2 rs1 011 rd 0101111", "amoxor.d rd, rs2, (rs1)", kind="amo")
def amoxor_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 8)
    claimed = claim(h, host)
    old = atomic_xor(at_u64(host), rs2)
    release(h, claimed)
    host_written(h, host)
    return old


@op("01100 aq rl rs2 rs1 010 rd 0101111", "amoand.w rd, rs2, (rs1)", kind="amo")
def amoand_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 4)
    claimed = claim(h, host)
    old = atomic_and(at_u32(host), u32(rs2))
    release(h, claimed)
    host_written(h, host)
    return u64(i32(old))


@op("01100 aq rl rs2 rs1 011 rd 0101111", "amoand.d rd, rs2, (rs1)", kind="amo")
def amoand_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 8)
    claimed = claim(h, host)
    old = atomic_and(at_u64(host), rs2)
    release(h, claimed)
    host_written(h, host)
    return old


@op("01000 aq rl rs2 rs1 010 rd 0101111", "amoor.w rd, rs2, (rs1)", kind="amo")
def amoor_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 4)
    claimed = claim(h, host)
    old = atomic_or(at_u32(host), u32(rs2))
    release(h, claimed)
    host_written(h, host)
    return u64(i32(old))


@op("01000 aq rl rs2 rs1 011 rd 0101111", "amoor.d rd, rs2, (rs1)", kind="amo")
def amoor_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 8)
    claimed = claim(h, host)
    old = atomic_or(at_u64(host), rs2)
    release(h, claimed)
    host_written(h, host)
    return old


@op("10000 aq rl rs2 rs1 010 rd 0101111", "amomin.w rd, rs2, (rs1)", kind="amo")
def amomin_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 4)
    claimed = claim(h, host)
    new = u32(rs2)
    old = atomic_load(at_u32(host))
    while not atomic_cas(at_u32(host), old, old if i32(old) < i32(new) else new):
        old = atomic_load(at_u32(host))
    release(h, claimed)
    host_written(h, host)
    return u64(i32(old))


@op("10000 aq rl rs2 rs1 011 rd 0101111", "amomin.d rd, rs2, (rs1)", kind="amo")
def amomin_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 8)
    claimed = claim(h, host)
    new = rs2
    old = atomic_load(at_u64(host))
    while not atomic_cas(at_u64(host), old, old if i64(old) < i64(new) else new):
        old = atomic_load(at_u64(host))
    release(h, claimed)
    host_written(h, host)
    return old


@op("10100 aq rl rs2 rs1 010 rd 0101111", "amomax.w rd, rs2, (rs1)", kind="amo")
def amomax_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 4)
    claimed = claim(h, host)
    new = u32(rs2)
    old = atomic_load(at_u32(host))
    while not atomic_cas(at_u32(host), old, old if i32(old) > i32(new) else new):
        old = atomic_load(at_u32(host))
    release(h, claimed)
    host_written(h, host)
    return u64(i32(old))


@op("10100 aq rl rs2 rs1 011 rd 0101111", "amomax.d rd, rs2, (rs1)", kind="amo")
def amomax_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 8)
    claimed = claim(h, host)
    new = rs2
    old = atomic_load(at_u64(host))
    while not atomic_cas(at_u64(host), old, old if i64(old) > i64(new) else new):
        old = atomic_load(at_u64(host))
    release(h, claimed)
    host_written(h, host)
    return old


@op("11000 aq rl rs2 rs1 010 rd 0101111", "amominu.w rd, rs2, (rs1)", kind="amo")
def amominu_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 4)
    claimed = claim(h, host)
    new = u32(rs2)
    old = atomic_load(at_u32(host))
    while not atomic_cas(at_u32(host), old, old if old < new else new):
        old = atomic_load(at_u32(host))
    release(h, claimed)
    host_written(h, host)
    return u64(i32(old))


@op("11000 aq rl rs2 rs1 011 rd 0101111", "amominu.d rd, rs2, (rs1)", kind="amo")
def amominu_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 8)
    claimed = claim(h, host)
    new = rs2
    old = atomic_load(at_u64(host))
    while not atomic_cas(at_u64(host), old, old if old < new else new):
        old = atomic_load(at_u64(host))
    release(h, claimed)
    host_written(h, host)
    return old


@op("11100 aq rl rs2 rs1 010 rd 0101111", "amomaxu.w rd, rs2, (rs1)", kind="amo")
def amomaxu_w(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 4)
    claimed = claim(h, host)
    new = u32(rs2)
    old = atomic_load(at_u32(host))
    while not atomic_cas(at_u32(host), old, old if old > new else new):
        old = atomic_load(at_u32(host))
    release(h, claimed)
    host_written(h, host)
    return u64(i32(old))


@op("11100 aq rl rs2 rs1 011 rd 0101111", "amomaxu.d rd, rs2, (rs1)", kind="amo")
def amomaxu_d(h: Hart, rs1: u64, rs2: u64) -> u64:
    host = atomic_address(h, rs1, 8)
    claimed = claim(h, host)
    new = rs2
    old = atomic_load(at_u64(host))
    while not atomic_cas(at_u64(host), old, old if old > new else new):
        old = atomic_load(at_u64(host))
    release(h, claimed)
    host_written(h, host)
    return old
