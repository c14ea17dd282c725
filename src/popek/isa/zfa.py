"""Zfa: additional floating-point instructions, for single and double precision. Unprivileged ISA, "Zfa Extension for
Additional Floating-Point Instructions"."""
from __future__ import annotations

from popek.isa.fp import (
    TRY,
    box,
    f32_le_quiet,
    f32_lt_quiet,
    f32_maximum,
    f32_minimum,
    f32_round,
    f32_round_inexact,
    f64_le_quiet,
    f64_lt_quiet,
    f64_maximum,
    f64_minimum,
    f64_round,
    f64_round_inexact,
    f64_to_word_modulo,
    rounding,
    unbox,
)
from popek.isa.hart import ILLEGAL_INSTRUCTION, Hart
from popek.isa.op import op
from popek.isa.softfloat.pack import canonical_nan, infinity, sign_bit
from popek.lang import Trap, fn, i8, u8, u32, u64

# Exponents of the powers of two among the constants: numbers 2 to 7 and 23 to 29, a byte each
LOW_EXPONENTS = 0xFDFC_F9F8_F1F0
HIGH_EXPONENTS = 0x10_0F08_0704_0302


@fn
def constant(h: Hart, number: u64, eb: u32, fb: u32) -> u64:
    """The table of immediates in the chapter, computed: compiled meanings have no tables."""
    bias = (u64(1) << (eb - 1)) - 1
    if number == 0:
        return sign_bit(eb, fb) | bias << fb
    if number == 1:                    # the least normal number
        return u64(1) << fb
    if number < 8:
        return bias + u64(i8(u8(u64(LOW_EXPONENTS) >> (number * 8 - 16)))) << fb
    if number < 23:
        return quarters(number, eb, fb)
    if number < 30:
        return bias + u64(i8(u8(u64(HIGH_EXPONENTS) >> (number * 8 - 184)))) << fb
    return infinity(eb, fb) if number == 30 else canonical_nan(eb, fb)


@fn
def quarters(number: u64, eb: u32, fb: u32) -> u64:
    """Numbers 8 to 22, from 0.25 to 3.0: four to each power of two."""
    return ((u64(1) << (eb + 1)) - 20 + number) << (fb - 2)


@fn
def try_constant(h: Hart, number: u64, eb: u32, fb: u32) -> u64:
    """constant, of those that are simple."""
    if number - 8 > 14:
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return quarters(number, eb, fb)


TRY[constant] = try_constant


@op("1111000 00001 uimm[4:0] 000 frd 1010011", "fli.s frd, constant", kind="fp")
def fli_s(h: Hart, imm: u64) -> u64:
    return box(constant(h, imm, 8, 23))


@op("1111001 00001 uimm[4:0] 000 frd 1010011", "fli.d frd, constant", kind="fp")
def fli_d(h: Hart, imm: u64) -> u64:
    return constant(h, imm, 11, 52)


@op("0010100 frs2 frs1 010 frd 1010011", "fminm.s frd, frs1, frs2", kind="fp")
def fminm_s(h: Hart, frs1: u64, frs2: u64) -> u64:
    return box(f32_minimum(h, unbox(h, frs1), unbox(h, frs2)))


@op("0010100 frs2 frs1 011 frd 1010011", "fmaxm.s frd, frs1, frs2", kind="fp")
def fmaxm_s(h: Hart, frs1: u64, frs2: u64) -> u64:
    return box(f32_maximum(h, unbox(h, frs1), unbox(h, frs2)))


@op("0010101 frs2 frs1 010 frd 1010011", "fminm.d frd, frs1, frs2", kind="fp")
def fminm_d(h: Hart, frs1: u64, frs2: u64) -> u64:
    return f64_minimum(h, frs1, frs2)


@op("0010101 frs2 frs1 011 frd 1010011", "fmaxm.d frd, frs1, frs2", kind="fp")
def fmaxm_d(h: Hart, frs1: u64, frs2: u64) -> u64:
    return f64_maximum(h, frs1, frs2)


@op("0100000 00100 frs1 rm frd 1010011", "fround.s frd, frs1", kind="fp")
def fround_s(h: Hart, frs1: u64, rm: u32) -> u64:
    return box(f32_round(h, unbox(h, frs1), rounding(h, rm)))


@op("0100000 00101 frs1 rm frd 1010011", "froundnx.s frd, frs1", kind="fp")
def froundnx_s(h: Hart, frs1: u64, rm: u32) -> u64:
    return box(f32_round_inexact(h, unbox(h, frs1), rounding(h, rm)))


@op("0100001 00100 frs1 rm frd 1010011", "fround.d frd, frs1", kind="fp")
def fround_d(h: Hart, frs1: u64, rm: u32) -> u64:
    return f64_round(h, frs1, rounding(h, rm))


@op("0100001 00101 frs1 rm frd 1010011", "froundnx.d frd, frs1", kind="fp")
def froundnx_d(h: Hart, frs1: u64, rm: u32) -> u64:
    return f64_round_inexact(h, frs1, rounding(h, rm))


# The only rounding mode it has
@op("1100001 01000 frs1 001 rd 1010011", "fcvtmod.w.d rd, frs1, rtz", kind="fp")
def fcvtmod_w_d(h: Hart, frs1: u64) -> u64:
    return f64_to_word_modulo(h, frs1)


@op("1010000 frs2 frs1 100 rd 1010011", "fleq.s rd, frs1, frs2", kind="fp")
def fleq_s(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f32_le_quiet(h, unbox(h, frs1), unbox(h, frs2)))


@op("1010000 frs2 frs1 101 rd 1010011", "fltq.s rd, frs1, frs2", kind="fp")
def fltq_s(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f32_lt_quiet(h, unbox(h, frs1), unbox(h, frs2)))


@op("1010001 frs2 frs1 100 rd 1010011", "fleq.d rd, frs1, frs2", kind="fp")
def fleq_d(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f64_le_quiet(h, frs1, frs2))


@op("1010001 frs2 frs1 101 rd 1010011", "fltq.d rd, frs1, frs2", kind="fp")
def fltq_d(h: Hart, frs1: u64, frs2: u64) -> u64:
    return u64(f64_lt_quiet(h, frs1, frs2))
