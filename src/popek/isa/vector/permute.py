"""Instructions that bring elements to other places: slides, gather, compress.

Unprivileged ISA, "V", "Vector Integer Permutation Instructions", "Vector Floating-Point Permutation Instructions".
"""
from __future__ import annotations

from typing import Any

from popek.isa.hart import Hart
from popek.isa.vector.families import float_size, floats, instruction, operations, scalar_float
from popek.isa.vector.generic import WIDTHS
from popek.isa.vector.groups import apart, destination, lmul, register, vlmax
from popek.isa.vector.kernels import SCOPE, sew
from popek.isa.vector.layout import RESULT
from popek.isa.vector.masking import fill, from_start, get, keep, put
from popek.isa.vector.views import VIEWS
from popek.lang import at_u8, fn, i64, memcpy, memset, source_fn, u32, u64


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


def gathering(bits: int, index_bits: int) -> Any:
    """result[i] = a[b[i]], where what is beyond VLMAX reads as zero; for one width of elements and one of indices."""
    name = f"gather_{bits}_{index_bits}"
    view, indices = VIEWS[bits].__name__, VIEWS[index_bits].__name__
    source = f"""def {name}(n: u64, to: u64, a: u64, b: u64, limit: u64) -> None:
    vt, va, vb = cast({view}, to), cast({view}, a), cast({indices}, b)
    for i in range(n):
        index = u64(vb.e[i])
        value: u{bits} = 0
        if index < limit:
            value = va.e[index]
        vt.e[i] = value
"""
    return source_fn(name, source, {**SCOPE, "__name__": __name__})


gather_8, gather_16, gather_32, gather_64 = (gathering(bits, bits) for bits in WIDTHS)
gather_8_16, gather_32_16, gather_64_16 = (gathering(bits, 16) for bits in (8, 32, 64))


@instruction("001100 vm vs2 vs1 000 vd 1010111", "vrgather.vv vd, vs2, vs1, vm")
def vrgather_vv(h: Hart, vd: u32, vs2: u32, vs1: u32, vm: u32) -> None:
    log = lmul(h)
    d, a, b, size = destination(h, vd, vm, log), register(h, vs2, log), register(h, vs1, log), sew(h)
    apart(h, vd, log, vs2, log)
    apart(h, vd, log, vs1, log)
    limit, to, n = vlmax(h, size), h.vector + RESULT, h.vl
    if size == 0:
        gather_8(n, to, a, b, limit)
    elif size == 1:
        gather_16(n, to, a, b, limit)
    elif size == 2:
        gather_32(n, to, a, b, limit)
    else:
        gather_64(n, to, a, b, limit)
    keep(h, d, vm, size)


@instruction("001110 vm vs2 vs1 000 vd 1010111", "vrgatherei16.vv vd, vs2, vs1, vm")
def vrgatherei16_vv(h: Hart, vd: u32, vs2: u32, vs1: u32, vm: u32) -> None:
    log, size = lmul(h), sew(h)
    index_log = log + 1 - i64(size)
    d, a, b = destination(h, vd, vm, log), register(h, vs2, log), register(h, vs1, index_log)
    apart(h, vd, log, vs2, log)
    apart(h, vd, log, vs1, index_log)
    limit, to, n = vlmax(h, size), h.vector + RESULT, h.vl
    if size == 0:
        gather_8_16(n, to, a, b, limit)
    elif size == 1:
        gather_16(n, to, a, b, limit)
    elif size == 2:
        gather_32_16(n, to, a, b, limit)
    else:
        gather_64_16(n, to, a, b, limit)
    keep(h, d, vm, size)


@fn
def gather_one(h: Hart, vd: u32, vs2: u32, index: u64, vm: u32) -> None:
    log, size = lmul(h), sew(h)
    d, a = destination(h, vd, vm, log), register(h, vs2, log)
    apart(h, vd, log, vs2, log)
    value: u64 = 0
    if index < vlmax(h, size):
        value = get(a, index, size)
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


OPS = operations(__name__)
