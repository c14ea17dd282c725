"""Zicond: conditional zero. Unprivileged ISA, "Zicond Extension for Integer Conditional Operations"."""
from __future__ import annotations

from popek.isa.op import op
from popek.lang import u64


@op("0000111 rs2 rs1 101 rd 0110011", "czero.eqz rd, rs1, rs2")
def czero_eqz(rs1: u64, rs2: u64) -> u64:
    return 0 if rs2 == 0 else rs1


@op("0000111 rs2 rs1 111 rd 0110011", "czero.nez rd, rs1, rs2")
def czero_nez(rs1: u64, rs2: u64) -> u64:
    return rs1 if rs2 == 0 else 0
