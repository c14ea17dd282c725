"""Zbs: single-bit instructions. Unprivileged ISA, "B Extension for Bit Manipulation", Zbs."""
from __future__ import annotations

from popek.isa.op import op
from popek.lang import u64


@op("0100100 rs2 rs1 001 rd 0110011", "bclr rd, rs1, rs2")
def bclr(rs1: u64, rs2: u64) -> u64:
    return rs1 & ~(u64(1) << (rs2 & 63))


@op("010010 uimm[5:0] rs1 001 rd 0010011", "bclri rd, rs1, shamt")
def bclri(rs1: u64, imm: u64) -> u64:
    return rs1 & ~(u64(1) << imm)


@op("0100100 rs2 rs1 101 rd 0110011", "bext rd, rs1, rs2")
def bext(rs1: u64, rs2: u64) -> u64:
    return rs1 >> (rs2 & 63) & 1


@op("010010 uimm[5:0] rs1 101 rd 0010011", "bexti rd, rs1, shamt")
def bexti(rs1: u64, imm: u64) -> u64:
    return rs1 >> imm & 1


@op("0110100 rs2 rs1 001 rd 0110011", "binv rd, rs1, rs2")
def binv(rs1: u64, rs2: u64) -> u64:
    return rs1 ^ u64(1) << (rs2 & 63)


@op("011010 uimm[5:0] rs1 001 rd 0010011", "binvi rd, rs1, shamt")
def binvi(rs1: u64, imm: u64) -> u64:
    return rs1 ^ u64(1) << imm


@op("0010100 rs2 rs1 001 rd 0110011", "bset rd, rs1, rs2")
def bset(rs1: u64, rs2: u64) -> u64:
    return rs1 | u64(1) << (rs2 & 63)


@op("001010 uimm[5:0] rs1 001 rd 0010011", "bseti rd, rs1, shamt")
def bseti(rs1: u64, imm: u64) -> u64:
    return rs1 | u64(1) << imm
