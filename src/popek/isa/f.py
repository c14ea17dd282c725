"""F: single precision. Unprivileged ISA, "F Extension for Single-Precision Floating-Point". No double precision.

Registers are 64 bits wide because of D: a single-precision number lies NaN-boxed in them.
"""
from __future__ import annotations

from popek.isa.fp import (
    BODY_32,
    SIGN_32,
    box,
    f32_add,
    f32_classify,
    f32_div,
    f32_eq,
    f32_fma,
    f32_from_i64,
    f32_from_u64,
    f32_le,
    f32_lt,
    f32_max,
    f32_min,
    f32_mul,
    f32_sqrt,
    f32_sub,
    f32_to_i32,
    f32_to_i64,
    f32_to_u32,
    f32_to_u64,
    rounding,
    unbox,
    unbox_exact,
)
from popek.isa.hart import Hart
from popek.isa.memory import load_u32, store_u32
from popek.isa.op import op
from popek.lang import i32, u32, u64


@op("imm[11:0] rs1 010 frd 0000111", "flw frd, imm(rs1)", kind="fp")
def flw(h: Hart, rs1: u64, imm: u64) -> u64:
    return box(u64(load_u32(h, rs1 + imm)))


@op("imm[11:5] frs2 rs1 010 imm[4:0] 0100111", "fsw frs2, imm(rs1)", kind="fp")
def fsw(h: Hart, rs1: u64, frs2: u64, imm: u64) -> None:
    store_u32(h, rs1 + imm, u32(frs2))


@op("frs3 00 frs2 frs1 rm frd 1000011", "fmadd.s frd, frs1, frs2, frs3", kind="fp")
def fmadd_s(h: Hart, frs1: u64, frs2: u64, frs3: u64, rm: u32) -> u64:
    return box(f32_fma(h, unbox(h, frs1), unbox(h, frs2), unbox(h, frs3), rounding(h, rm)))


@op("frs3 00 frs2 frs1 rm frd 1000111", "fmsub.s frd, frs1, frs2, frs3", kind="fp")
def fmsub_s(h: Hart, frs1: u64, frs2: u64, frs3: u64, rm: u32) -> u64:
    return box(f32_fma(h, unbox(h, frs1), unbox(h, frs2), unbox(h, frs3) ^ SIGN_32, rounding(h, rm)))


@op("frs3 00 frs2 frs1 rm frd 1001011", "fnmsub.s frd, frs1, frs2, frs3", kind="fp")
def fnmsub_s(h: Hart, frs1: u64, frs2: u64, frs3: u64, rm: u32) -> u64:
    return box(f32_fma(h, unbox(h, frs1) ^ SIGN_32, unbox(h, frs2), unbox(h, frs3), rounding(h, rm)))


@op("frs3 00 frs2 frs1 rm frd 1001111", "fnmadd.s frd, frs1, frs2, frs3", kind="fp")
def fnmadd_s(h: Hart, frs1: u64, frs2: u64, frs3: u64, rm: u32) -> u64:
    return box(f32_fma(h, unbox(h, frs1) ^ SIGN_32, unbox(h, frs2), unbox(h, frs3) ^ SIGN_32, rounding(h, rm)))


@op("0000000 frs2 frs1 rm frd 1010011", "fadd.s frd, frs1, frs2", kind="fp")
def fadd_s(h: Hart, frs1: u64, frs2: u64, rm: u32) -> u64:
    return box(f32_add(h, unbox(h, frs1), unbox(h, frs2), rounding(h, rm)))


@op("0000100 frs2 frs1 rm frd 1010011", "fsub.s frd, frs1, frs2", kind="fp")
def fsub_s(h: Hart, frs1: u64, frs2: u64, rm: u32) -> u64:
    return box(f32_sub(h, unbox(h, frs1), unbox(h, frs2), rounding(h, rm)))


@op("0001000 frs2 frs1 rm frd 1010011", "fmul.s frd, frs1, frs2", kind="fp")
def fmul_s(h: Hart, frs1: u64, frs2: u64, rm: u32) -> u64:
    return box(f32_mul(h, unbox(h, frs1), unbox(h, frs2), rounding(h, rm)))


@op("0001100 frs2 frs1 rm frd 1010011", "fdiv.s frd, frs1, frs2", kind="fp")
def fdiv_s(h: Hart, frs1: u64, frs2: u64, rm: u32) -> u64:
    return box(f32_div(h, unbox(h, frs1), unbox(h, frs2), rounding(h, rm)))


@op("0101100 00000 frs1 rm frd 1010011", "fsqrt.s frd, frs1", kind="fp")
def fsqrt_s(h: Hart, frs1: u64, rm: u32) -> u64:
    return box(f32_sqrt(h, unbox(h, frs1), rounding(h, rm)))


@op("0010000 frs2 frs1 000 frd 1010011", "fsgnj.s frd, frs1, frs2", kind="fp")
def fsgnj_s(frs1: u64, frs2: u64) -> u64:
    return box(unbox_exact(frs1) & BODY_32 | unbox_exact(frs2) & SIGN_32)


@op("0010000 frs2 frs1 001 frd 1010011", "fsgnjn.s frd, frs1, frs2", kind="fp")
def fsgnjn_s(frs1: u64, frs2: u64) -> u64:
    return box(unbox_exact(frs1) & BODY_32 | ~unbox_exact(frs2) & SIGN_32)


@op("0010000 frs2 frs1 010 frd 1010011", "fsgnjx.s frd, frs1, frs2", kind="fp")
def fsgnjx_s(frs1: u64, frs2: u64) -> u64:
    return box(unbox_exact(frs1) ^ unbox_exact(frs2) & SIGN_32)


@op("0010100 frs2 frs1 000 frd 1010011", "fmin.s frd, frs1, frs2", kind="fp")
def fmin_s(h: Hart, frs1: u64, frs2: u64) -> u64:
    return box(f32_min(h, unbox(h, frs1), unbox(h, frs2)))


@op("0010100 frs2 frs1 001 frd 1010011", "fmax.s frd, frs1, frs2", kind="fp")
def fmax_s(h: Hart, frs1: u64, frs2: u64) -> u64:
    return box(f32_max(h, unbox(h, frs1), unbox(h, frs2)))


@op("1010000 frs2 frs1 010 rd 1010011", "feq.s rd, frs1, frs2", kind="fp")
def feq_s(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f32_eq(h, unbox(h, frs1), unbox(h, frs2)))


@op("1010000 frs2 frs1 001 rd 1010011", "flt.s rd, frs1, frs2", kind="fp")
def flt_s(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f32_lt(h, unbox(h, frs1), unbox(h, frs2)))


@op("1010000 frs2 frs1 000 rd 1010011", "fle.s rd, frs1, frs2", kind="fp")
def fle_s(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f32_le(h, unbox(h, frs1), unbox(h, frs2)))


@op("1110000 00000 frs1 001 rd 1010011", "fclass.s rd, frs1", kind="fp")
def fclass_s(frs1: u64) -> u64:
    return f32_classify(unbox_exact(frs1))


@op("1100000 00000 frs1 rm rd 1010011", "fcvt.w.s rd, frs1", kind="fp")
def fcvt_w_s(h: Hart, frs1: u64, rm: u32) -> u64:
    return f32_to_i32(h, unbox(h, frs1), rounding(h, rm))


@op("1100000 00001 frs1 rm rd 1010011", "fcvt.wu.s rd, frs1", kind="fp")
def fcvt_wu_s(h: Hart, frs1: u64, rm: u32) -> u64:
    return f32_to_u32(h, unbox(h, frs1), rounding(h, rm))


@op("1100000 00010 frs1 rm rd 1010011", "fcvt.l.s rd, frs1", kind="fp")
def fcvt_l_s(h: Hart, frs1: u64, rm: u32) -> u64:
    return f32_to_i64(h, unbox(h, frs1), rounding(h, rm))


@op("1100000 00011 frs1 rm rd 1010011", "fcvt.lu.s rd, frs1", kind="fp")
def fcvt_lu_s(h: Hart, frs1: u64, rm: u32) -> u64:
    return f32_to_u64(h, unbox(h, frs1), rounding(h, rm))


@op("1101000 00000 rs1 rm frd 1010011", "fcvt.s.w frd, rs1", kind="fp")
def fcvt_s_w(h: Hart, rs1: u64, rm: u32) -> u64:
    return box(f32_from_i64(h, u64(i32(rs1)), rounding(h, rm)))


@op("1101000 00001 rs1 rm frd 1010011", "fcvt.s.wu frd, rs1", kind="fp")
def fcvt_s_wu(h: Hart, rs1: u64, rm: u32) -> u64:
    return box(f32_from_i64(h, u64(u32(rs1)), rounding(h, rm)))


@op("1101000 00010 rs1 rm frd 1010011", "fcvt.s.l frd, rs1", kind="fp")
def fcvt_s_l(h: Hart, rs1: u64, rm: u32) -> u64:
    return box(f32_from_i64(h, rs1, rounding(h, rm)))


@op("1101000 00011 rs1 rm frd 1010011", "fcvt.s.lu frd, rs1", kind="fp")
def fcvt_s_lu(h: Hart, rs1: u64, rm: u32) -> u64:
    return box(f32_from_u64(h, rs1, rounding(h, rm)))


@op("1110000 00000 frs1 000 rd 1010011", "fmv.x.w rd, frs1", kind="fp")
def fmv_x_w(frs1: u64) -> u64:
    return u64(i32(frs1))


@op("1111000 00000 rs1 000 frd 1010011", "fmv.w.x frd, rs1", kind="fp")
def fmv_w_x(rs1: u64) -> u64:
    return box(u64(u32(rs1)))
