"""Zbb: basic bit manipulation. Unprivileged ISA, "B Extension for Bit Manipulation", Zbb."""
from __future__ import annotations

from popek.isa.op import op
from popek.lang import bswap, clz, ctz, i8, i16, i32, i64, popcount, rotl, rotr, u16, u32, u64


@op("0100000 rs2 rs1 111 rd 0110011", "andn rd, rs1, rs2")
def andn(rs1: u64, rs2: u64) -> u64:
    return rs1 & ~rs2


@op("0100000 rs2 rs1 110 rd 0110011", "orn rd, rs1, rs2")
def orn(rs1: u64, rs2: u64) -> u64:
    return rs1 | ~rs2


@op("0100000 rs2 rs1 100 rd 0110011", "xnor rd, rs1, rs2")
def xnor(rs1: u64, rs2: u64) -> u64:
    return ~(rs1 ^ rs2)


# The counting instructions give the width for zero; the intrinsics are only asked about nonzero values.
@op("0110000 00000 rs1 001 rd 0010011", "clz rd, rs1")
def clz_(rs1: u64) -> u64:
    if rs1 == 0:
        return 64
    return u64(clz(rs1))


@op("0110000 00000 rs1 001 rd 0011011", "clzw rd, rs1")
def clzw(rs1: u64) -> u64:
    if u32(rs1) == 0:
        return 32
    return u64(clz(u32(rs1)))


@op("0110000 00001 rs1 001 rd 0010011", "ctz rd, rs1")
def ctz_(rs1: u64) -> u64:
    if rs1 == 0:
        return 64
    return u64(ctz(rs1))


@op("0110000 00001 rs1 001 rd 0011011", "ctzw rd, rs1")
def ctzw(rs1: u64) -> u64:
    if u32(rs1) == 0:
        return 32
    return u64(ctz(u32(rs1)))


@op("0110000 00010 rs1 001 rd 0010011", "cpop rd, rs1")
def cpop(rs1: u64) -> u64:
    return u64(popcount(rs1))


@op("0110000 00010 rs1 001 rd 0011011", "cpopw rd, rs1")
def cpopw(rs1: u64) -> u64:
    return u64(popcount(u32(rs1)))


@op("0000101 rs2 rs1 110 rd 0110011", "max rd, rs1, rs2")
def max_(rs1: u64, rs2: u64) -> u64:
    return rs1 if i64(rs1) > i64(rs2) else rs2


@op("0000101 rs2 rs1 111 rd 0110011", "maxu rd, rs1, rs2")
def maxu(rs1: u64, rs2: u64) -> u64:
    return rs1 if rs1 > rs2 else rs2


@op("0000101 rs2 rs1 100 rd 0110011", "min rd, rs1, rs2")
def min_(rs1: u64, rs2: u64) -> u64:
    return rs1 if i64(rs1) < i64(rs2) else rs2


@op("0000101 rs2 rs1 101 rd 0110011", "minu rd, rs1, rs2")
def minu(rs1: u64, rs2: u64) -> u64:
    return rs1 if rs1 < rs2 else rs2


@op("0110000 00100 rs1 001 rd 0010011", "sext.b rd, rs1")
def sext_b(rs1: u64) -> u64:
    return u64(i8(rs1))


@op("0110000 00101 rs1 001 rd 0010011", "sext.h rd, rs1")
def sext_h(rs1: u64) -> u64:
    return u64(i16(rs1))


@op("0000100 00000 rs1 100 rd 0111011", "zext.h rd, rs1")
def zext_h(rs1: u64) -> u64:
    return u64(u16(rs1))


@op("0110000 rs2 rs1 001 rd 0110011", "rol rd, rs1, rs2")
def rol(rs1: u64, rs2: u64) -> u64:
    return rotl(rs1, rs2 & 63)


@op("0110000 rs2 rs1 001 rd 0111011", "rolw rd, rs1, rs2")
def rolw(rs1: u64, rs2: u64) -> u64:
    return u64(i32(rotl(u32(rs1), u32(rs2) & 31)))


@op("0110000 rs2 rs1 101 rd 0110011", "ror rd, rs1, rs2")
def ror(rs1: u64, rs2: u64) -> u64:
    return rotr(rs1, rs2 & 63)


@op("0110000 rs2 rs1 101 rd 0111011", "rorw rd, rs1, rs2")
def rorw(rs1: u64, rs2: u64) -> u64:
    return u64(i32(rotr(u32(rs1), u32(rs2) & 31)))


@op("011000 uimm[5:0] rs1 101 rd 0010011", "rori rd, rs1, shamt")
def rori(rs1: u64, imm: u64) -> u64:
    return rotr(rs1, imm)


@op("0110000 uimm[4:0] rs1 101 rd 0011011", "roriw rd, rs1, shamt")
def roriw(rs1: u64, imm: u64) -> u64:
    return u64(i32(rotr(u32(rs1), u32(imm))))


@op("001010000111 rs1 101 rd 0010011", "orc.b rd, rs1")
def orc_b(rs1: u64) -> u64:
    # Fold each byte into its lowest bit, then spread that bit over the byte
    low = rs1 | (rs1 >> 4 & 0x0F0F0F0F0F0F0F0F)
    low = low | (low >> 2 & 0x3333333333333333)
    low = low | (low >> 1 & 0x5555555555555555)
    return (low & 0x0101010101010101) * 255


@op("011010111000 rs1 101 rd 0010011", "rev8 rd, rs1")
def rev8(rs1: u64) -> u64:
    return bswap(rs1)
