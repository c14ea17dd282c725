"""Zbc: carry-less multiplication. Unprivileged ISA, "B Extension for Bit Manipulation", Zbc."""
from __future__ import annotations

from popek.isa.op import op
from popek.isa.zbc_host import half
from popek.lang import fn, u64, u128

# Every fourth bit
EVERY_4TH = 0x1111_1111_1111_1111


@fn(native=half(0))
def product_low(a: u64, b: u64) -> u64:
    """The lower half of the carry-less product.

    Of numbers that have one bit in four, products have sums of at most 16 in each group of four bits: the carry of the
    sixteenth leaves the highest group only. So the lowest bit of each group is the parity.
    """
    a0, a1, a2, a3 = a & EVERY_4TH, a & EVERY_4TH << 1, a & EVERY_4TH << 2, a & EVERY_4TH << 3
    b0, b1, b2, b3 = b & EVERY_4TH, b & EVERY_4TH << 1, b & EVERY_4TH << 2, b & EVERY_4TH << 3
    p0 = a0 * b0 ^ a1 * b3 ^ a2 * b2 ^ a3 * b1
    p1 = a0 * b1 ^ a1 * b0 ^ a2 * b3 ^ a3 * b2
    p2 = a0 * b2 ^ a1 * b1 ^ a2 * b0 ^ a3 * b3
    p3 = a0 * b3 ^ a1 * b2 ^ a2 * b1 ^ a3 * b0
    return p0 & EVERY_4TH | p1 & EVERY_4TH << 1 | p2 & EVERY_4TH << 2 | p3 & EVERY_4TH << 3


@fn(native=half(1))
def product_high(a: u64, b: u64) -> u64:
    """The upper half, by the same means. There the sixteenth product's carry would count, so the highest four bits of
    `b`, which make it, are multiplied one by one."""
    a0, a1, a2, a3 = u128(a & EVERY_4TH), u128(a & EVERY_4TH << 1), u128(a & EVERY_4TH << 2), u128(a & EVERY_4TH << 3)
    low = b << 4 >> 4
    b0, b1 = u128(low & EVERY_4TH), u128(low & EVERY_4TH << 1)
    b2, b3 = u128(low & EVERY_4TH << 2), u128(low & EVERY_4TH << 3)
    p0 = u64((a0 * b0 ^ a1 * b3 ^ a2 * b2 ^ a3 * b1) >> 64)
    p1 = u64((a0 * b1 ^ a1 * b0 ^ a2 * b3 ^ a3 * b2) >> 64)
    p2 = u64((a0 * b2 ^ a1 * b1 ^ a2 * b0 ^ a3 * b3) >> 64)
    p3 = u64((a0 * b3 ^ a1 * b2 ^ a2 * b1 ^ a3 * b0) >> 64)
    high = p0 & EVERY_4TH | p1 & EVERY_4TH << 1 | p2 & EVERY_4TH << 2 | p3 & EVERY_4TH << 3
    for i in range(4):
        if b >> (60 + i) & 1 != 0:
            high ^= a >> (4 - i)
    return high


@op("0000101 rs2 rs1 001 rd 0110011", "clmul rd, rs1, rs2")
def clmul(rs1: u64, rs2: u64) -> u64:
    return product_low(rs1, rs2)


@op("0000101 rs2 rs1 011 rd 0110011", "clmulh rd, rs1, rs2")
def clmulh(rs1: u64, rs2: u64) -> u64:
    return product_high(rs1, rs2)


@op("0000101 rs2 rs1 010 rd 0110011", "clmulr rd, rs1, rs2")
def clmulr(rs1: u64, rs2: u64) -> u64:
    return product_high(rs1, rs2) << 1 | product_low(rs1, rs2) >> 63
