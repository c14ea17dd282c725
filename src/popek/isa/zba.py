"""Zba: address generation. Unprivileged ISA, "B Extension for Bit Manipulation", Zba."""
from __future__ import annotations

from popek.isa.op import op
from popek.lang import u32, u64


@op("0010000 rs2 rs1 010 rd 0110011", "sh1add rd, rs1, rs2")
def sh1add(rs1: u64, rs2: u64) -> u64:
    return (rs1 << 1) + rs2


@op("0010000 rs2 rs1 100 rd 0110011", "sh2add rd, rs1, rs2")
def sh2add(rs1: u64, rs2: u64) -> u64:
    return (rs1 << 2) + rs2


@op("0010000 rs2 rs1 110 rd 0110011", "sh3add rd, rs1, rs2")
def sh3add(rs1: u64, rs2: u64) -> u64:
    return (rs1 << 3) + rs2


@op("0000100 rs2 rs1 000 rd 0111011", "add.uw rd, rs1, rs2")
def add_uw(rs1: u64, rs2: u64) -> u64:
    return u64(u32(rs1)) + rs2


@op("0010000 rs2 rs1 010 rd 0111011", "sh1add.uw rd, rs1, rs2")
def sh1add_uw(rs1: u64, rs2: u64) -> u64:
    return (u64(u32(rs1)) << 1) + rs2


@op("0010000 rs2 rs1 100 rd 0111011", "sh2add.uw rd, rs1, rs2")
def sh2add_uw(rs1: u64, rs2: u64) -> u64:
    return (u64(u32(rs1)) << 2) + rs2


@op("0010000 rs2 rs1 110 rd 0111011", "sh3add.uw rd, rs1, rs2")
def sh3add_uw(rs1: u64, rs2: u64) -> u64:
    return (u64(u32(rs1)) << 3) + rs2


@op("000010 uimm[5:0] rs1 001 rd 0011011", "slli.uw rd, rs1, shamt")
def slli_uw(rs1: u64, imm: u64) -> u64:
    return u64(u32(rs1)) << imm
