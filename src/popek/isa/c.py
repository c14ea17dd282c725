"""C: 16-bit spellings of other instructions.

Unprivileged ISA, "C Extension for Compressed Instructions". Forms only, no meanings.

The forms of floating-point loads and stores stand here too: C.FLD and its kin are part of C when D is there.
"""
from __future__ import annotations

from popek.isa import d, i, privileged
from popek.isa.op import expand

FORMS = (
    # Quadrant 0
    expand("000 uimm[5:4|9:6|2|3] rd' 00", "c.addi4spn rd', uimm", i.addi, "rd', x2, uimm", nonzero="uimm"),
    expand("001 uimm[5:3] rs1' uimm[7:6] frd' 00", "c.fld frd', uimm(rs1')", d.fld, "frd', uimm, rs1'"),
    expand("010 uimm[5:3] rs1' uimm[2|6] rd' 00", "c.lw rd', uimm(rs1')", i.lw, "rd', uimm, rs1'"),
    expand("011 uimm[5:3] rs1' uimm[7:6] rd' 00", "c.ld rd', uimm(rs1')", i.ld, "rd', uimm, rs1'"),
    expand("101 uimm[5:3] rs1' uimm[7:6] frs2' 00", "c.fsd frs2', uimm(rs1')", d.fsd, "frs2', uimm, rs1'"),
    expand("110 uimm[5:3] rs1' uimm[2|6] rs2' 00", "c.sw rs2', uimm(rs1')", i.sw, "rs2', uimm, rs1'"),
    expand("111 uimm[5:3] rs1' uimm[7:6] rs2' 00", "c.sd rs2', uimm(rs1')", i.sd, "rs2', uimm, rs1'"),
    # Quadrant 1
    expand("000 imm[5] 00000 imm[4:0] 01", "c.nop imm", i.addi, "x0, x0, imm"),
    expand("000 imm[5] rd imm[4:0] 01", "c.addi rd, imm", i.addi, "rd, rd, imm"),
    expand("001 imm[5] rd imm[4:0] 01", "c.addiw rd, imm", i.addiw, "rd, rd, imm", nonzero="rd"),
    expand("010 imm[5] rd imm[4:0] 01", "c.li rd, imm", i.addi, "rd, x0, imm"),
    expand("011 imm[9] 00010 imm[4|6|8:7|5] 01", "c.addi16sp imm", i.addi, "x2, x2, imm", nonzero="imm"),
    expand("011 imm[17] rd imm[16:12] 01", "c.lui rd, upper", i.lui, "rd, imm", nonzero="imm"),
    expand("100 uimm[5] 00 rd' uimm[4:0] 01", "c.srli rd', uimm", i.srli, "rd', rd', uimm"),
    expand("100 uimm[5] 01 rd' uimm[4:0] 01", "c.srai rd', uimm", i.srai, "rd', rd', uimm"),
    expand("100 imm[5] 10 rd' imm[4:0] 01", "c.andi rd', imm", i.andi, "rd', rd', imm"),
    expand("100 0 11 rd' 00 rs2' 01", "c.sub rd', rs2'", i.sub, "rd', rd', rs2'"),
    expand("100 0 11 rd' 01 rs2' 01", "c.xor rd', rs2'", i.xor, "rd', rd', rs2'"),
    expand("100 0 11 rd' 10 rs2' 01", "c.or rd', rs2'", i.or_, "rd', rd', rs2'"),
    expand("100 0 11 rd' 11 rs2' 01", "c.and rd', rs2'", i.and_, "rd', rd', rs2'"),
    expand("100 1 11 rd' 00 rs2' 01", "c.subw rd', rs2'", i.subw, "rd', rd', rs2'"),
    expand("100 1 11 rd' 01 rs2' 01", "c.addw rd', rs2'", i.addw, "rd', rd', rs2'"),
    expand("101 imm[11|4|9:8|10|6|7|3:1|5] 01", "c.j target", i.jal, "x0, imm"),
    expand("110 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "c.beqz rs1', target", i.beq, "rs1', x0, imm"),
    expand("111 imm[8|4:3] rs1' imm[7:6|2:1|5] 01", "c.bnez rs1', target", i.bne, "rs1', x0, imm"),
    # Quadrant 2
    expand("000 uimm[5] rd uimm[4:0] 10", "c.slli rd, uimm", i.slli, "rd, rd, uimm"),
    expand("001 uimm[5] frd uimm[4:3|8:6] 10", "c.fldsp frd, uimm(sp)", d.fld, "frd, uimm, x2"),
    expand("010 uimm[5] rd uimm[4:2|7:6] 10", "c.lwsp rd, uimm(sp)", i.lw, "rd, uimm, x2", nonzero="rd"),
    expand("011 uimm[5] rd uimm[4:3|8:6] 10", "c.ldsp rd, uimm(sp)", i.ld, "rd, uimm, x2", nonzero="rd"),
    expand("100 0 rs1 00000 10", "c.jr rs1", i.jalr, "x0, 0, rs1", nonzero="rs1"),
    expand("100 0 rd rs2 10", "c.mv rd, rs2", i.add, "rd, x0, rs2"),
    expand("100 1 00000 00000 10", "c.ebreak", privileged.ebreak, ""),
    expand("100 1 rs1 00000 10", "c.jalr rs1", i.jalr, "x1, 0, rs1"),
    expand("100 1 rd rs2 10", "c.add rd, rs2", i.add, "rd, rd, rs2"),
    expand("101 uimm[5:3|8:6] frs2 10", "c.fsdsp frs2, uimm(sp)", d.fsd, "frs2, uimm, x2"),
    expand("110 uimm[5:2|7:6] rs2 10", "c.swsp rs2, uimm(sp)", i.sw, "rs2, uimm, x2"),
    expand("111 uimm[5:3|8:6] rs2 10", "c.sdsp rs2, uimm(sp)", i.sd, "rs2, uimm, x2"),
)
