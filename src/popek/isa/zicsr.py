"""Zicsr: the six CSR instructions. Unprivileged ISA, "Zicsr Extension for Control and Status Register Instructions".

Set and clear with a zero operand do not write at all; those encodings are rows of their own. The immediate holds the
register's number in bits 11:0 and the five-bit operand of the immediate forms above it.
"""
from __future__ import annotations

from popek.isa.csr import csr_clear, csr_read, csr_set, csr_write
from popek.isa.hart import Hart
from popek.isa.op import op
from popek.lang import u64


@op("uimm[11:0] rs1 001 00000 1110011", "csrw csr, rs1", kind="csr")
def csrw(h: Hart, imm: u64, rs1: u64) -> None:
    csr_write(h, imm, rs1)


@op("uimm[11:0] rs1 001 rd 1110011", "csrrw rd, csr, rs1", kind="csr")
def csrrw(h: Hart, imm: u64, rs1: u64) -> u64:
    old = csr_read(h, imm)
    csr_write(h, imm, rs1)
    return old


@op("uimm[11:0] 00000 010 rd 1110011", "csrr rd, csr", kind="csr")
def csrr(h: Hart, imm: u64) -> u64:
    return csr_read(h, imm)


@op("uimm[11:0] rs1 010 rd 1110011", "csrrs rd, csr, rs1", kind="csr")
def csrrs(h: Hart, imm: u64, rs1: u64) -> u64:
    old = csr_read(h, imm)
    csr_set(h, imm, old, rs1)
    return old


@op("uimm[11:0] 00000 011 rd 1110011", "csrrc rd, csr, zero", kind="csr")
def csrrc_none(h: Hart, imm: u64) -> u64:
    return csr_read(h, imm)


@op("uimm[11:0] rs1 011 rd 1110011", "csrrc rd, csr, rs1", kind="csr")
def csrrc(h: Hart, imm: u64, rs1: u64) -> u64:
    old = csr_read(h, imm)
    csr_clear(h, imm, old, rs1)
    return old


@op("uimm[11:0] uimm[16:12] 101 00000 1110011", "csrwi csr, zimm", kind="csr")
def csrwi(h: Hart, imm: u64) -> None:
    csr_write(h, imm & 0xFFF, imm >> 12)


@op("uimm[11:0] uimm[16:12] 101 rd 1110011", "csrrwi rd, csr, zimm", kind="csr")
def csrrwi(h: Hart, imm: u64) -> u64:
    old = csr_read(h, imm & 0xFFF)
    csr_write(h, imm & 0xFFF, imm >> 12)
    return old


@op("uimm[11:0] 00000 110 rd 1110011", "csrrsi rd, csr, 0", kind="csr")
def csrrsi_none(h: Hart, imm: u64) -> u64:
    return csr_read(h, imm)


@op("uimm[11:0] uimm[16:12] 110 rd 1110011", "csrrsi rd, csr, zimm", kind="csr")
def csrrsi(h: Hart, imm: u64) -> u64:
    old = csr_read(h, imm & 0xFFF)
    csr_set(h, imm & 0xFFF, old, imm >> 12)
    return old


@op("uimm[11:0] 00000 111 rd 1110011", "csrrci rd, csr, 0", kind="csr")
def csrrci_none(h: Hart, imm: u64) -> u64:
    return csr_read(h, imm)


@op("uimm[11:0] uimm[16:12] 111 rd 1110011", "csrrci rd, csr, zimm", kind="csr")
def csrrci(h: Hart, imm: u64) -> u64:
    old = csr_read(h, imm & 0xFFF)
    csr_clear(h, imm & 0xFFF, old, imm >> 12)
    return old
