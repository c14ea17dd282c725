"""D: double precision. Unprivileged ISA, "D Extension for Double-Precision Floating-Point". Not F."""
from __future__ import annotations

from popek.isa.fp import (
    BODY_64,
    SIGN_64,
    box,
    f32_to_f64,
    f64_add,
    f64_classify,
    f64_div,
    f64_eq,
    f64_fma,
    f64_from_i64,
    f64_from_u64,
    f64_le,
    f64_lt,
    f64_max,
    f64_min,
    f64_mul,
    f64_sqrt,
    f64_sub,
    f64_to_f32,
    f64_to_i32,
    f64_to_i64,
    f64_to_u32,
    f64_to_u64,
    rounding,
    unbox,
)
from popek.isa.hart import Hart
from popek.isa.memory import load_u64, store_u64
from popek.isa.op import op
from popek.lang import i32, u32, u64


@op("imm[11:0] rs1 011 frd 0000111", "fld frd, imm(rs1)", kind="fp")
def fld(h: Hart, rs1: u64, imm: u64) -> u64:
    return load_u64(h, rs1 + imm)


@op("imm[11:5] frs2 rs1 011 imm[4:0] 0100111", "fsd frs2, imm(rs1)", kind="fp")
def fsd(h: Hart, rs1: u64, frs2: u64, imm: u64) -> None:
    store_u64(h, rs1 + imm, frs2)


@op("frs3 01 frs2 frs1 rm frd 1000011", "fmadd.d frd, frs1, frs2, frs3", kind="fp")
def fmadd_d(h: Hart, frs1: u64, frs2: u64, frs3: u64, rm: u32) -> u64:
    return f64_fma(h, frs1, frs2, frs3, rounding(h, rm))


@op("frs3 01 frs2 frs1 rm frd 1000111", "fmsub.d frd, frs1, frs2, frs3", kind="fp")
def fmsub_d(h: Hart, frs1: u64, frs2: u64, frs3: u64, rm: u32) -> u64:
    return f64_fma(h, frs1, frs2, frs3 ^ SIGN_64, rounding(h, rm))


@op("frs3 01 frs2 frs1 rm frd 1001011", "fnmsub.d frd, frs1, frs2, frs3", kind="fp")
def fnmsub_d(h: Hart, frs1: u64, frs2: u64, frs3: u64, rm: u32) -> u64:
    return f64_fma(h, frs1 ^ SIGN_64, frs2, frs3, rounding(h, rm))


@op("frs3 01 frs2 frs1 rm frd 1001111", "fnmadd.d frd, frs1, frs2, frs3", kind="fp")
def fnmadd_d(h: Hart, frs1: u64, frs2: u64, frs3: u64, rm: u32) -> u64:
    return f64_fma(h, frs1 ^ SIGN_64, frs2, frs3 ^ SIGN_64, rounding(h, rm))


@op("0000001 frs2 frs1 rm frd 1010011", "fadd.d frd, frs1, frs2", kind="fp")
def fadd_d(h: Hart, frs1: u64, frs2: u64, rm: u32) -> u64:
    return f64_add(h, frs1, frs2, rounding(h, rm))


@op("0000101 frs2 frs1 rm frd 1010011", "fsub.d frd, frs1, frs2", kind="fp")
def fsub_d(h: Hart, frs1: u64, frs2: u64, rm: u32) -> u64:
    return f64_sub(h, frs1, frs2, rounding(h, rm))


@op("0001001 frs2 frs1 rm frd 1010011", "fmul.d frd, frs1, frs2", kind="fp")
def fmul_d(h: Hart, frs1: u64, frs2: u64, rm: u32) -> u64:
    return f64_mul(h, frs1, frs2, rounding(h, rm))


@op("0001101 frs2 frs1 rm frd 1010011", "fdiv.d frd, frs1, frs2", kind="fp")
def fdiv_d(h: Hart, frs1: u64, frs2: u64, rm: u32) -> u64:
    return f64_div(h, frs1, frs2, rounding(h, rm))


@op("0101101 00000 frs1 rm frd 1010011", "fsqrt.d frd, frs1", kind="fp")
def fsqrt_d(h: Hart, frs1: u64, rm: u32) -> u64:
    return f64_sqrt(h, frs1, rounding(h, rm))


@op("0010001 frs2 frs1 000 frd 1010011", "fsgnj.d frd, frs1, frs2", kind="fp")
def fsgnj_d(frs1: u64, frs2: u64) -> u64:
    return frs1 & BODY_64 | frs2 & SIGN_64


@op("0010001 frs2 frs1 001 frd 1010011", "fsgnjn.d frd, frs1, frs2", kind="fp")
def fsgnjn_d(frs1: u64, frs2: u64) -> u64:
    return frs1 & BODY_64 | ~frs2 & SIGN_64


@op("0010001 frs2 frs1 010 frd 1010011", "fsgnjx.d frd, frs1, frs2", kind="fp")
def fsgnjx_d(frs1: u64, frs2: u64) -> u64:
    return frs1 ^ frs2 & SIGN_64


@op("0010101 frs2 frs1 000 frd 1010011", "fmin.d frd, frs1, frs2", kind="fp")
def fmin_d(h: Hart, frs1: u64, frs2: u64) -> u64:
    return f64_min(h, frs1, frs2)


@op("0010101 frs2 frs1 001 frd 1010011", "fmax.d frd, frs1, frs2", kind="fp")
def fmax_d(h: Hart, frs1: u64, frs2: u64) -> u64:
    return f64_max(h, frs1, frs2)


@op("1010001 frs2 frs1 010 rd 1010011", "feq.d rd, frs1, frs2", kind="fp")
def feq_d(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f64_eq(h, frs1, frs2))


@op("1010001 frs2 frs1 001 rd 1010011", "flt.d rd, frs1, frs2", kind="fp")
def flt_d(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f64_lt(h, frs1, frs2))


@op("1010001 frs2 frs1 000 rd 1010011", "fle.d rd, frs1, frs2", kind="fp")
def fle_d(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f64_le(h, frs1, frs2))


@op("1110001 00000 frs1 001 rd 1010011", "fclass.d rd, frs1", kind="fp")
def fclass_d(frs1: u64) -> u64:
    return f64_classify(frs1)


@op("1100001 00000 frs1 rm rd 1010011", "fcvt.w.d rd, frs1", kind="fp")
def fcvt_w_d(h: Hart, frs1: u64, rm: u32) -> u64:
    return f64_to_i32(h, frs1, rounding(h, rm))


@op("1100001 00001 frs1 rm rd 1010011", "fcvt.wu.d rd, frs1", kind="fp")
def fcvt_wu_d(h: Hart, frs1: u64, rm: u32) -> u64:
    return f64_to_u32(h, frs1, rounding(h, rm))


@op("1100001 00010 frs1 rm rd 1010011", "fcvt.l.d rd, frs1", kind="fp")
def fcvt_l_d(h: Hart, frs1: u64, rm: u32) -> u64:
    return f64_to_i64(h, frs1, rounding(h, rm))


@op("1100001 00011 frs1 rm rd 1010011", "fcvt.lu.d rd, frs1", kind="fp")
def fcvt_lu_d(h: Hart, frs1: u64, rm: u32) -> u64:
    return f64_to_u64(h, frs1, rounding(h, rm))


@op("1101001 00000 rs1 rm frd 1010011", "fcvt.d.w frd, rs1", kind="fp")
def fcvt_d_w(h: Hart, rs1: u64, rm: u32) -> u64:
    return f64_from_i64(h, u64(i32(rs1)), rounding(h, rm))


@op("1101001 00001 rs1 rm frd 1010011", "fcvt.d.wu frd, rs1", kind="fp")
def fcvt_d_wu(h: Hart, rs1: u64, rm: u32) -> u64:
    return f64_from_i64(h, u64(u32(rs1)), rounding(h, rm))


@op("1101001 00010 rs1 rm frd 1010011", "fcvt.d.l frd, rs1", kind="fp")
def fcvt_d_l(h: Hart, rs1: u64, rm: u32) -> u64:
    return f64_from_i64(h, rs1, rounding(h, rm))


@op("1101001 00011 rs1 rm frd 1010011", "fcvt.d.lu frd, rs1", kind="fp")
def fcvt_d_lu(h: Hart, rs1: u64, rm: u32) -> u64:
    return f64_from_u64(h, rs1, rounding(h, rm))


@op("0100000 00001 frs1 rm frd 1010011", "fcvt.s.d frd, frs1", kind="fp")
def fcvt_s_d(h: Hart, frs1: u64, rm: u32) -> u64:
    return box(f64_to_f32(h, frs1, rounding(h, rm)))


@op("0100001 00000 frs1 rm frd 1010011", "fcvt.d.s frd, frs1", kind="fp")
def fcvt_d_s(h: Hart, frs1: u64, rm: u32) -> u64:
    return f32_to_f64(h, unbox(h, frs1), rounding(h, rm))


@op("1110001 00000 frs1 000 rd 1010011", "fmv.x.d rd, frs1", kind="fp")
def fmv_x_d(frs1: u64) -> u64:
    return frs1


@op("1111001 00000 rs1 000 frd 1010011", "fmv.d.x frd, rs1", kind="fp")
def fmv_d_x(rs1: u64) -> u64:
    return rs1
