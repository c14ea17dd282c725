"""Instructions that copy: scalars, whole registers, extension. No element goes to another place.

Unprivileged ISA, "V", "Vector Integer Move Instructions", "Integer Scalar Move Instructions", "Vector Integer
Extension", "Whole Vector Register Move".
"""
from __future__ import annotations

from popek.isa.fp import box
from popek.isa.hart import Hart
from popek.isa.vector.families import (
    declare,
    float_size,
    float_state_written,
    floats,
    instruction,
    operations,
    scalar_float,
)
from popek.isa.vector.groups import lmul, register
from popek.isa.vector.kernels import SCOPE, sew
from popek.isa.vector.layout import RESULT, VLEN_BYTES
from popek.isa.vector.masking import fill, get, keep, put
from popek.isa.vector.views import VIEWS, whole_vectors
from popek.lang import fn, i64, memcpy, u32, u64


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
    float_state_written(h)
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


def extension(code: str, fraction: int, signed: bool) -> None:
    """vzext.vf<fraction>, vsext.vf<fraction>: elements of that part of SEW, as wide as SEW."""
    steps = fraction.bit_length() - 1
    mnemonic = f"v{'s' if signed else 'z'}ext.vf{fraction}"
    name = mnemonic.replace(".", "_")
    lines = []
    for position, bits in enumerate(b for b in (16, 32, 64) if b >= 8 * fraction):
        value = f"u{bits}({f'i{bits // fraction}(va{bits}.e[i])' if signed else f'va{bits}.e[i]'})"
        lines += [f"{'el' if position else ''}if size == {bits.bit_length() - 4}:",
                  f"    va{bits} = cast({VIEWS[bits // fraction].__name__}, a)",
                  f"    vt{bits} = cast({VIEWS[bits].__name__}, to)",
                  f"    for i in range({whole_vectors('h.vl', bits)}):",
                  f"        vt{bits}.e[i] = {value}"]  # fmt: skip
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
