"""M: integer multiplication and division, which never traps.

Unprivileged ISA, "M Extension for Integer Multiplication and Division".
"""
from __future__ import annotations

from popek.isa.op import op
from popek.lang import i32, i64, i128, sdiv, srem, u32, u64, u128

MINIMUM_64 = 1 << 63
MINIMUM_32 = 1 << 31


@op("0000001 rs2 rs1 000 rd 0110011", "mul rd, rs1, rs2")
def mul(rs1: u64, rs2: u64) -> u64:
    return rs1 * rs2


@op("0000001 rs2 rs1 001 rd 0110011", "mulh rd, rs1, rs2")
def mulh(rs1: u64, rs2: u64) -> u64:
    return u64((i128(i64(rs1)) * i128(i64(rs2))) >> 64)


@op("0000001 rs2 rs1 010 rd 0110011", "mulhsu rd, rs1, rs2")
def mulhsu(rs1: u64, rs2: u64) -> u64:
    return u64((i128(i64(rs1)) * i128(rs2)) >> 64)


@op("0000001 rs2 rs1 011 rd 0110011", "mulhu rd, rs1, rs2")
def mulhu(rs1: u64, rs2: u64) -> u64:
    return u64((u128(rs1) * u128(rs2)) >> 64)


@op("0000001 rs2 rs1 100 rd 0110011", "div rd, rs1, rs2")
def div(rs1: u64, rs2: u64) -> u64:
    if rs2 == 0:
        return -1
    if rs1 == MINIMUM_64 and rs2 == -1:
        return rs1
    return u64(sdiv(i64(rs1), i64(rs2)))


@op("0000001 rs2 rs1 101 rd 0110011", "divu rd, rs1, rs2")
def divu(rs1: u64, rs2: u64) -> u64:
    if rs2 == 0:
        return -1
    return rs1 // rs2


@op("0000001 rs2 rs1 110 rd 0110011", "rem rd, rs1, rs2")
def rem(rs1: u64, rs2: u64) -> u64:
    if rs2 == 0:
        return rs1
    if rs1 == MINIMUM_64 and rs2 == -1:
        return 0
    return u64(srem(i64(rs1), i64(rs2)))


@op("0000001 rs2 rs1 111 rd 0110011", "remu rd, rs1, rs2")
def remu(rs1: u64, rs2: u64) -> u64:
    if rs2 == 0:
        return rs1
    return rs1 % rs2


@op("0000001 rs2 rs1 000 rd 0111011", "mulw rd, rs1, rs2")
def mulw(rs1: u64, rs2: u64) -> u64:
    return u64(i32(rs1 * rs2))


@op("0000001 rs2 rs1 100 rd 0111011", "divw rd, rs1, rs2")
def divw(rs1: u64, rs2: u64) -> u64:
    if u32(rs2) == 0:
        return -1
    if u32(rs1) == MINIMUM_32 and u32(rs2) == -1:
        return u64(i32(rs1))
    return u64(sdiv(i32(rs1), i32(rs2)))


@op("0000001 rs2 rs1 101 rd 0111011", "divuw rd, rs1, rs2")
def divuw(rs1: u64, rs2: u64) -> u64:
    if u32(rs2) == 0:
        return -1
    return u64(i32(u32(rs1) // u32(rs2)))


@op("0000001 rs2 rs1 110 rd 0111011", "remw rd, rs1, rs2")
def remw(rs1: u64, rs2: u64) -> u64:
    if u32(rs2) == 0:
        return u64(i32(rs1))
    if u32(rs1) == MINIMUM_32 and u32(rs2) == -1:
        return 0
    return u64(srem(i32(rs1), i32(rs2)))


@op("0000001 rs2 rs1 111 rd 0111011", "remuw rd, rs1, rs2")
def remuw(rs1: u64, rs2: u64) -> u64:
    if u32(rs2) == 0:
        return u64(i32(rs1))
    return u64(i32(u32(rs1) % u32(rs2)))
