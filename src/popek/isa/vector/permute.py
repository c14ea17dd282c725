"""Instructions that move elements: scalar moves, slides, gather, compress, extension, whole registers.

Unprivileged ISA, "V", "Vector Integer Permutation Instructions", "Vector Integer Move Instructions", "Vector Integer
Extension".
"""
from __future__ import annotations

from popek.isa.fp import box
from popek.isa.hart import ILLEGAL_INSTRUCTION, Hart
from popek.isa.vector.families import (
    declare,
    floats,
    instruction,
    operations,
    scalar_float,
)
from popek.isa.vector.groups import apart, destination, lmul, register, vlmax
from popek.isa.vector.kernels import SCOPE, cell, sew
from popek.isa.vector.layout import RESULT, VLEN_BYTES
from popek.isa.vector.masking import fill, get, keep, put
from popek.isa.vector.reduce import from_start
from popek.lang import Trap, at_u8, fn, i64, memcpy, memset, u32, u64


@fn
def float_size(h: Hart) -> u32:
    """The size of elements that must be FP numbers."""
    size = sew(h)
    if size < 2 or size > 3:
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return size


@instruction("010000 1 vs2 00000 010 rd 1010111", "vmv.x.s rd, vs2")
def vmv_x_s(h: Hart, vs2: u32) -> u64:
    lmul(h)
    h.vstart = 0
    return get(register(h, vs2, i64(0)), u64(0), sew(h))


@instruction("010000 1 00000 rs1 110 vd 1010111", "vmv.s.x vd, rs1")
def vmv_s_x(h: Hart, vd: u32, rs1: u64) -> None:
    lmul(h)
    set_first(h, vd, rs1, sew(h))


@instruction("010000 1 vs2 00000 001 frd 1010111", "vfmv.f.s frd, vs2")
def vfmv_f_s(h: Hart, vs2: u32) -> u64:
    floats(h)
    lmul(h)
    size = float_size(h)
    h.vstart = 0
    value = get(register(h, vs2, i64(0)), u64(0), size)
    return box(value) if size == 2 else value


@instruction("010000 1 00000 frs1 101 vd 1010111", "vfmv.s.f vd, frs1")
def vfmv_s_f(h: Hart, vd: u32, frs1: u64) -> None:
    floats(h)
    lmul(h)
    size = float_size(h)
    set_first(h, vd, scalar_float(frs1, size), size)


@fn
def set_first(h: Hart, vd: u32, value: u64, size: u32) -> None:
    """Set element 0, if it is in the body and not before vstart."""
    if h.vstart < h.vl:
        put(register(h, vd, i64(0)), u64(0), value, size)
    h.vstart = 0


@instruction("010111 1 00000 vs1 000 vd 1010111", "vmv.v.v vd, vs1")
def vmv_v_v(h: Hart, vd: u32, vs1: u32) -> None:
    log = lmul(h)
    d, size = register(h, vd, log), sew(h)
    memcpy(h.vector + RESULT, register(h, vs1, log), h.vl << u64(size))
    keep(h, d, u32(1), size)


@fn
def set_all(h: Hart, vd: u32, value: u64, size: u32) -> None:
    """Set all elements of the body."""
    d = register(h, vd, lmul(h))
    fill(h, h.vector + RESULT, value, size)
    keep(h, d, u32(1), size)


@instruction("010111 1 00000 rs1 100 vd 1010111", "vmv.v.x vd, rs1")
def vmv_v_x(h: Hart, vd: u32, rs1: u64) -> None:
    set_all(h, vd, rs1, sew(h))


@instruction("010111 1 00000 imm[4:0] 011 vd 1010111", "vmv.v.i vd, imm")
def vmv_v_i(h: Hart, vd: u32, imm: u64) -> None:
    set_all(h, vd, imm, sew(h))


@instruction("010111 1 00000 frs1 101 vd 1010111", "vfmv.v.f vd, frs1")
def vfmv_v_f(h: Hart, vd: u32, frs1: u64) -> None:
    floats(h)
    lmul(h)
    size = float_size(h)
    set_all(h, vd, scalar_float(frs1, size), size)


@fn
def slide_up(h: Hart, vd: u32, vs2: u32, offset: u64, vm: u32) -> None:
    log = lmul(h)
    apart(h, vd, log, vs2, log)
    d, a, size = destination(h, vd, vm, log), register(h, vs2, log), sew(h)
    if offset < h.vl:
        memcpy(h.vector + RESULT + (offset << u64(size)), a, h.vl - offset << u64(size))
        h.vstart = max(h.vstart, offset)      # the elements before stay as they are
        keep(h, d, vm, size)
    h.vstart = 0


@instruction("001110 vm vs2 rs1 100 vd 1010111", "vslideup.vx vd, vs2, rs1, vm")
def vslideup_vx(h: Hart, vd: u32, vs2: u32, rs1: u64, vm: u32) -> None:
    slide_up(h, vd, vs2, rs1, vm)


@instruction("001110 vm vs2 uimm[4:0] 011 vd 1010111", "vslideup.vi vd, vs2, uimm, vm")
def vslideup_vi(h: Hart, vd: u32, vs2: u32, imm: u64, vm: u32) -> None:
    slide_up(h, vd, vs2, imm, vm)


@fn
def slide_down(h: Hart, vd: u32, vs2: u32, offset: u64, vm: u32) -> None:
    log = lmul(h)
    d, a, size = destination(h, vd, vm, log), register(h, vs2, log), sew(h)
    limit = vlmax(h, size)
    there: u64 = min(limit - offset, h.vl) if offset < limit else u64(0)
    to = h.vector + RESULT
    if there != 0:
        memcpy(to, a + (offset << u64(size)), there << u64(size))
    memset(to + (there << u64(size)), 0, h.vl - there << u64(size))
    keep(h, d, vm, size)


@instruction("001111 vm vs2 rs1 100 vd 1010111", "vslidedown.vx vd, vs2, rs1, vm")
def vslidedown_vx(h: Hart, vd: u32, vs2: u32, rs1: u64, vm: u32) -> None:
    slide_down(h, vd, vs2, rs1, vm)


@instruction("001111 vm vs2 uimm[4:0] 011 vd 1010111", "vslidedown.vi vd, vs2, uimm, vm")
def vslidedown_vi(h: Hart, vd: u32, vs2: u32, imm: u64, vm: u32) -> None:
    slide_down(h, vd, vs2, imm, vm)


@fn
def slide_in_first(h: Hart, vd: u32, vs2: u32, value: u64, vm: u32, size: u32) -> None:
    """One place up, with the scalar as element 0."""
    log = lmul(h)
    apart(h, vd, log, vs2, log)
    d, a, to = destination(h, vd, vm, log), register(h, vs2, log), h.vector + RESULT
    if h.vl != 0:
        memcpy(to + (u64(1) << u64(size)), a, h.vl - 1 << u64(size))
        put(to, u64(0), value, size)
    keep(h, d, vm, size)


@fn
def slide_in_last(h: Hart, vd: u32, vs2: u32, value: u64, vm: u32, size: u32) -> None:
    """One place down, with the scalar as the last element of the body."""
    log = lmul(h)
    d, a, to = destination(h, vd, vm, log), register(h, vs2, log), h.vector + RESULT
    if h.vl != 0:
        memcpy(to, a + (u64(1) << u64(size)), h.vl - 1 << u64(size))
        put(to, h.vl - 1, value, size)
    keep(h, d, vm, size)


@instruction("001110 vm vs2 rs1 110 vd 1010111", "vslide1up.vx vd, vs2, rs1, vm")
def vslide1up_vx(h: Hart, vd: u32, vs2: u32, rs1: u64, vm: u32) -> None:
    slide_in_first(h, vd, vs2, rs1, vm, sew(h))


@instruction("001111 vm vs2 rs1 110 vd 1010111", "vslide1down.vx vd, vs2, rs1, vm")
def vslide1down_vx(h: Hart, vd: u32, vs2: u32, rs1: u64, vm: u32) -> None:
    slide_in_last(h, vd, vs2, rs1, vm, sew(h))


@instruction("001110 vm vs2 frs1 101 vd 1010111", "vfslide1up.vf vd, vs2, frs1, vm")
def vfslide1up_vf(h: Hart, vd: u32, vs2: u32, frs1: u64, vm: u32) -> None:
    floats(h)
    lmul(h)
    size = float_size(h)
    slide_in_first(h, vd, vs2, scalar_float(frs1, size), vm, size)


@instruction("001111 vm vs2 frs1 101 vd 1010111", "vfslide1down.vf vd, vs2, frs1, vm")
def vfslide1down_vf(h: Hart, vd: u32, vs2: u32, frs1: u64, vm: u32) -> None:
    floats(h)
    lmul(h)
    size = float_size(h)
    slide_in_last(h, vd, vs2, scalar_float(frs1, size), vm, size)


@fn
def gather(h: Hart, a: u64, b: u64, size: u32, index_size: u32) -> None:
    """RESULT[i] = a[b[i]]; what is beyond VLMAX reads as zero."""
    limit, to, n = vlmax(h, size), h.vector + RESULT, h.vl
    mask: u64 = ~u64(0) >> (64 - (8 << u64(index_size)))
    for i in range(n):
        index = get(b, i, index_size) & mask
        put(to, i, get(a, index, size) if index < limit else u64(0), size)


@instruction("001100 vm vs2 vs1 000 vd 1010111", "vrgather.vv vd, vs2, vs1, vm")
def vrgather_vv(h: Hart, vd: u32, vs2: u32, vs1: u32, vm: u32) -> None:
    log = lmul(h)
    d, a, b, size = destination(h, vd, vm, log), register(h, vs2, log), register(h, vs1, log), sew(h)
    apart(h, vd, log, vs2, log)
    apart(h, vd, log, vs1, log)
    gather(h, a, b, size, size)
    keep(h, d, vm, size)


@instruction("001110 vm vs2 vs1 000 vd 1010111", "vrgatherei16.vv vd, vs2, vs1, vm")
def vrgatherei16_vv(h: Hart, vd: u32, vs2: u32, vs1: u32, vm: u32) -> None:
    log, size = lmul(h), sew(h)
    index_log = log + 1 - i64(size)
    d, a, b = destination(h, vd, vm, log), register(h, vs2, log), register(h, vs1, index_log)
    apart(h, vd, log, vs2, log)
    apart(h, vd, log, vs1, index_log)
    gather(h, a, b, size, u32(1))
    keep(h, d, vm, size)


@fn
def gather_one(h: Hart, vd: u32, vs2: u32, index: u64, vm: u32) -> None:
    log, size = lmul(h), sew(h)
    d, a = destination(h, vd, vm, log), register(h, vs2, log)
    apart(h, vd, log, vs2, log)
    value: u64 = get(a, index, size) if index < vlmax(h, size) else u64(0)
    fill(h, h.vector + RESULT, value, size)
    keep(h, d, vm, size)


@instruction("001100 vm vs2 rs1 100 vd 1010111", "vrgather.vx vd, vs2, rs1, vm")
def vrgather_vx(h: Hart, vd: u32, vs2: u32, rs1: u64, vm: u32) -> None:
    gather_one(h, vd, vs2, rs1, vm)


@instruction("001100 vm vs2 uimm[4:0] 011 vd 1010111", "vrgather.vi vd, vs2, uimm, vm")
def vrgather_vi(h: Hart, vd: u32, vs2: u32, imm: u64, vm: u32) -> None:
    gather_one(h, vd, vs2, imm, vm)


@instruction("010111 1 vs2 vs1 010 vd 1010111", "vcompress.vm vd, vs2, vs1")
def vcompress_vm(h: Hart, vd: u32, vs2: u32, vs1: u32) -> None:
    log, size = lmul(h), sew(h)
    from_start(h)
    d, a, b, to = register(h, vd, log), register(h, vs2, log), register(h, vs1, i64(0)), h.vector + RESULT
    apart(h, vd, log, vs2, log)
    apart(h, vd, log, vs1, i64(0))
    count: u64 = 0
    for i in range(h.vl):
        if at_u8(b + (i >> 3)).value >> (u32(i) & 7) & 1 != 0:
            put(to, count, get(a, i, size), size)
            count += 1
    memcpy(d, to, count << u64(size))


def extension(code: str, fraction: int, signed: bool) -> None:
    """vzext.vf<fraction>, vsext.vf<fraction>: elements of that part of SEW, as wide as SEW."""
    steps = fraction.bit_length() - 1
    mnemonic = f"v{'s' if signed else 'z'}ext.vf{fraction}"
    name = mnemonic.replace(".", "_")
    lines = []
    for position, bits in enumerate(b for b in (16, 32, 64) if b >= 8 * fraction):
        value = cell("a", bits // fraction)
        value = f"u{bits}({f'i{bits // fraction}({value})' if signed else value})"
        lines += [f"{'el' if position else ''}if size == {bits.bit_length() - 4}:", "    for i in range(h.vl):",
                  f"        {cell('to', bits)} = {value}"]  # fmt: skip
    body = ["log, size = lmul(h), sew(h)", "d = destination(h, vd, vm, log)", f"a = register(h, vs2, log - {steps})",
            f"wider(h, vd, log, vs2, log - {steps})", "to = h.vector + RESULT", *lines, "else:",
            "    raise Trap(ILLEGAL_INSTRUCTION, 0)", "keep(h, d, vm, size)"]  # fmt: skip
    source = f"def {name}(h: Hart, vd: u32, vs2: u32, vm: u32) -> None:\n    " + "\n    ".join(body) + "\n"
    declare(__name__, name, f"010010 vm vs2 {code} 010 vd 1010111", f"{mnemonic} vd, vs2, vm", source, SCOPE)


for _code, _fraction, _signed in (("00010", 8, False), ("00011", 8, True), ("00100", 4, False), ("00101", 4, True),
                                  ("00110", 2, False), ("00111", 2, True)):  # fmt: skip
    extension(_code, _fraction, _signed)


def whole(count: int) -> None:
    """vmv<count>r.v: registers, whatever vl is; vstart counts elements of SEW."""
    name = f"vmv{count}r_v"
    log = count.bit_length() - 1
    source = f"""def {name}(h: Hart, vd: u32, vs2: u32) -> None:
    d, a = register(h, vd, i64({log})), register(h, vs2, i64({log}))
    done = h.vstart << u64(sew(h) & 3)
    if done < {count * VLEN_BYTES}:
        memcpy(h.vector + RESULT, a + done, {count * VLEN_BYTES} - done)
        memcpy(d + done, h.vector + RESULT, {count * VLEN_BYTES} - done)
    h.vstart = 0
"""
    declare(__name__, name, f"100111 1 vs2 {count - 1:05b} 011 vd 1010111", f"vmv{count}r.v vd, vs2", source,
            {"memcpy": memcpy, "RESULT": RESULT})


for _count in (1, 2, 4, 8):
    whole(_count)

OPS = operations(__name__)
