"""RV64I: the base integer instruction set.

Unprivileged ISA, "RV32I" and "RV64I Base Integer Instruction Set". No privileged ones.
"""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.isa.memory import load_u8, load_u16, load_u32, load_u64, store_u8, store_u16, store_u32, store_u64
from popek.isa.op import op
from popek.isa.ports import spins
from popek.lang import fence as host_fence
from popek.lang import i8, i16, i32, i64, u8, u16, u32, u64


@op("imm[31:12] rd 0110111", "lui rd, upper")
def lui(imm: u64) -> u64:
    return imm


@op("imm[31:12] rd 0010111", "auipc rd, upper")
def auipc(pc: u64, imm: u64) -> u64:
    return pc + imm


@op("imm[20|10:1|11|19:12] rd 1101111", "jal rd, target", kind="jump")
def jal(pc: u64, imm: u64) -> u64:
    return pc + imm


@op("imm[11:0] rs1 000 rd 1100111", "jalr rd, imm(rs1)", kind="jump_register")
def jalr(rs1: u64, imm: u64) -> u64:
    return (rs1 + imm) & ~1


@op("imm[12|10:5] rs2 rs1 000 imm[4:1|11] 1100011", "beq rs1, rs2, target", kind="branch")
def beq(rs1: u64, rs2: u64) -> bool:
    return rs1 == rs2


@op("imm[12|10:5] rs2 rs1 001 imm[4:1|11] 1100011", "bne rs1, rs2, target", kind="branch")
def bne(rs1: u64, rs2: u64) -> bool:
    return rs1 != rs2


@op("imm[12|10:5] rs2 rs1 100 imm[4:1|11] 1100011", "blt rs1, rs2, target", kind="branch")
def blt(rs1: u64, rs2: u64) -> bool:
    return i64(rs1) < i64(rs2)


@op("imm[12|10:5] rs2 rs1 101 imm[4:1|11] 1100011", "bge rs1, rs2, target", kind="branch")
def bge(rs1: u64, rs2: u64) -> bool:
    return i64(rs1) >= i64(rs2)


@op("imm[12|10:5] rs2 rs1 110 imm[4:1|11] 1100011", "bltu rs1, rs2, target", kind="branch")
def bltu(rs1: u64, rs2: u64) -> bool:
    return rs1 < rs2


@op("imm[12|10:5] rs2 rs1 111 imm[4:1|11] 1100011", "bgeu rs1, rs2, target", kind="branch")
def bgeu(rs1: u64, rs2: u64) -> bool:
    return rs1 >= rs2


@op("imm[11:0] rs1 000 rd 0000011", "lb rd, imm(rs1)", kind="load")
def lb(h: Hart, rs1: u64, imm: u64) -> u64:
    return u64(i8(load_u8(h, rs1 + imm)))


@op("imm[11:0] rs1 001 rd 0000011", "lh rd, imm(rs1)", kind="load")
def lh(h: Hart, rs1: u64, imm: u64) -> u64:
    return u64(i16(load_u16(h, rs1 + imm)))


@op("imm[11:0] rs1 010 rd 0000011", "lw rd, imm(rs1)", kind="load")
def lw(h: Hart, rs1: u64, imm: u64) -> u64:
    return u64(i32(load_u32(h, rs1 + imm)))


@op("imm[11:0] rs1 011 rd 0000011", "ld rd, imm(rs1)", kind="load")
def ld(h: Hart, rs1: u64, imm: u64) -> u64:
    return load_u64(h, rs1 + imm)


@op("imm[11:0] rs1 100 rd 0000011", "lbu rd, imm(rs1)", kind="load")
def lbu(h: Hart, rs1: u64, imm: u64) -> u64:
    return u64(load_u8(h, rs1 + imm))


@op("imm[11:0] rs1 101 rd 0000011", "lhu rd, imm(rs1)", kind="load")
def lhu(h: Hart, rs1: u64, imm: u64) -> u64:
    return u64(load_u16(h, rs1 + imm))


@op("imm[11:0] rs1 110 rd 0000011", "lwu rd, imm(rs1)", kind="load")
def lwu(h: Hart, rs1: u64, imm: u64) -> u64:
    return u64(load_u32(h, rs1 + imm))


@op("imm[11:5] rs2 rs1 000 imm[4:0] 0100011", "sb rs2, imm(rs1)", kind="store")
def sb(h: Hart, rs1: u64, rs2: u64, imm: u64) -> None:
    store_u8(h, rs1 + imm, u8(rs2))


@op("imm[11:5] rs2 rs1 001 imm[4:0] 0100011", "sh rs2, imm(rs1)", kind="store")
def sh(h: Hart, rs1: u64, rs2: u64, imm: u64) -> None:
    store_u16(h, rs1 + imm, u16(rs2))


@op("imm[11:5] rs2 rs1 010 imm[4:0] 0100011", "sw rs2, imm(rs1)", kind="store")
def sw(h: Hart, rs1: u64, rs2: u64, imm: u64) -> None:
    store_u32(h, rs1 + imm, u32(rs2))


@op("imm[11:5] rs2 rs1 011 imm[4:0] 0100011", "sd rs2, imm(rs1)", kind="store")
def sd(h: Hart, rs1: u64, rs2: u64, imm: u64) -> None:
    store_u64(h, rs1 + imm, rs2)


@op("imm[11:0] rs1 000 rd 0010011", "addi rd, rs1, imm")
def addi(rs1: u64, imm: u64) -> u64:
    return rs1 + imm


@op("imm[11:0] rs1 010 rd 0010011", "slti rd, rs1, imm")
def slti(rs1: u64, imm: u64) -> u64:
    return u64(i64(rs1) < i64(imm))


@op("imm[11:0] rs1 011 rd 0010011", "sltiu rd, rs1, imm")
def sltiu(rs1: u64, imm: u64) -> u64:
    return u64(rs1 < imm)


@op("imm[11:0] rs1 100 rd 0010011", "xori rd, rs1, imm")
def xori(rs1: u64, imm: u64) -> u64:
    return rs1 ^ imm


@op("imm[11:0] rs1 110 rd 0010011", "ori rd, rs1, imm")
def ori(rs1: u64, imm: u64) -> u64:
    return rs1 | imm


@op("imm[11:0] rs1 111 rd 0010011", "andi rd, rs1, imm")
def andi(rs1: u64, imm: u64) -> u64:
    return rs1 & imm


@op("000000 uimm[5:0] rs1 001 rd 0010011", "slli rd, rs1, shamt")
def slli(rs1: u64, imm: u64) -> u64:
    return rs1 << imm


@op("000000 uimm[5:0] rs1 101 rd 0010011", "srli rd, rs1, shamt")
def srli(rs1: u64, imm: u64) -> u64:
    return rs1 >> imm


@op("010000 uimm[5:0] rs1 101 rd 0010011", "srai rd, rs1, shamt")
def srai(rs1: u64, imm: u64) -> u64:
    return u64(i64(rs1) >> imm)


@op("0000000 rs2 rs1 000 rd 0110011", "add rd, rs1, rs2")
def add(rs1: u64, rs2: u64) -> u64:
    return rs1 + rs2


@op("0100000 rs2 rs1 000 rd 0110011", "sub rd, rs1, rs2")
def sub(rs1: u64, rs2: u64) -> u64:
    return rs1 - rs2


@op("0000000 rs2 rs1 001 rd 0110011", "sll rd, rs1, rs2")
def sll(rs1: u64, rs2: u64) -> u64:
    return rs1 << rs2


@op("0000000 rs2 rs1 010 rd 0110011", "slt rd, rs1, rs2")
def slt(rs1: u64, rs2: u64) -> u64:
    return u64(i64(rs1) < i64(rs2))


@op("0000000 rs2 rs1 011 rd 0110011", "sltu rd, rs1, rs2")
def sltu(rs1: u64, rs2: u64) -> u64:
    return u64(rs1 < rs2)


@op("0000000 rs2 rs1 100 rd 0110011", "xor rd, rs1, rs2")
def xor(rs1: u64, rs2: u64) -> u64:
    return rs1 ^ rs2


@op("0000000 rs2 rs1 101 rd 0110011", "srl rd, rs1, rs2")
def srl(rs1: u64, rs2: u64) -> u64:
    return rs1 >> rs2


@op("0100000 rs2 rs1 101 rd 0110011", "sra rd, rs1, rs2")
def sra(rs1: u64, rs2: u64) -> u64:
    return u64(i64(rs1) >> rs2)


@op("0000000 rs2 rs1 110 rd 0110011", "or rd, rs1, rs2")
def or_(rs1: u64, rs2: u64) -> u64:
    return rs1 | rs2


@op("0000000 rs2 rs1 111 rd 0110011", "and rd, rs1, rs2")
def and_(rs1: u64, rs2: u64) -> u64:
    return rs1 & rs2


@op("imm[11:0] rs1 000 rd 0011011", "addiw rd, rs1, imm")
def addiw(rs1: u64, imm: u64) -> u64:
    return u64(i32(rs1 + imm))


@op("0000000 uimm[4:0] rs1 001 rd 0011011", "slliw rd, rs1, shamt")
def slliw(rs1: u64, imm: u64) -> u64:
    return u64(i32(rs1 << imm))


@op("0000000 uimm[4:0] rs1 101 rd 0011011", "srliw rd, rs1, shamt")
def srliw(rs1: u64, imm: u64) -> u64:
    return u64(i32(u32(rs1) >> imm))


@op("0100000 uimm[4:0] rs1 101 rd 0011011", "sraiw rd, rs1, shamt")
def sraiw(rs1: u64, imm: u64) -> u64:
    return u64(i32(rs1) >> imm)


@op("0000000 rs2 rs1 000 rd 0111011", "addw rd, rs1, rs2")
def addw(rs1: u64, rs2: u64) -> u64:
    return u64(i32(rs1 + rs2))


@op("0100000 rs2 rs1 000 rd 0111011", "subw rd, rs1, rs2")
def subw(rs1: u64, rs2: u64) -> u64:
    return u64(i32(rs1 - rs2))


@op("0000000 rs2 rs1 001 rd 0111011", "sllw rd, rs1, rs2")
def sllw(rs1: u64, rs2: u64) -> u64:
    return u64(i32(u32(rs1) << (rs2 & 31)))


@op("0000000 rs2 rs1 101 rd 0111011", "srlw rd, rs1, rs2")
def srlw(rs1: u64, rs2: u64) -> u64:
    return u64(i32(u32(rs1) >> (rs2 & 31)))


@op("0100000 rs2 rs1 101 rd 0111011", "sraw rd, rs1, rs2")
def sraw(rs1: u64, rs2: u64) -> u64:
    return u64(i32(rs1) >> (rs2 & 31))


# The reserved fields of FENCE are ignored, as the manual asks of base implementations.
@op("uimm[11:0] ----- 000 ----- 0001111", "fence", kind="hint")
def fence() -> None:
    host_fence()


# Zihintpause: FENCE with predecessor W, successor none.
@op("0000 0001 0000 00000 000 00000 0001111", "pause", kind="hint")
def pause(h: Hart) -> None:
    spins(h)
