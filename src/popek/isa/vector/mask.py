"""Instructions on mask registers, and on element numbers. Unprivileged ISA, "V", "Vector Mask Instructions".

64 mask bits at a time.
"""
from __future__ import annotations

from popek.isa.hart import Hart
from popek.isa.vector.families import declare, instruction, operations
from popek.isa.vector.groups import apart, destination, lmul, register
from popek.isa.vector.kernels import sew
from popek.isa.vector.layout import RESULT
from popek.isa.vector.masking import active, below, from_start, keep, put
from popek.lang import at_u64, ctz, fn, i64, popcount, u32, u64


def logical(funct6: str, name: str, expression: str) -> None:
    """One of the instructions on all bits of the body. a: vs2, b: vs1."""
    full = f"{name}_mm"
    source = f"""def {full}(h: Hart, vd: u32, vs1: u32, vs2: u32) -> None:
    lmul(h)
    to, left, right = register(h, vd, i64(0)), register(h, vs2, i64(0)), register(h, vs1, i64(0))
    for word in range(h.vl + 63 >> 6):
        chosen = active(h, u32(1), word)
        old, a, b = at_u64(to + word * 8).value, at_u64(left + word * 8).value, at_u64(right + word * 8).value
        at_u64(to + word * 8).value = old & ~chosen | {expression} & chosen
    h.vstart = 0
"""
    declare(__name__, full, f"{funct6} 1 vs2 vs1 010 vd 1010111", f"{name}.mm vd, vs2, vs1", source,
            {"active": active, "at_u64": at_u64})


logical("011000", "vmandn", "(a & ~b)")
logical("011001", "vmand", "(a & b)")
logical("011010", "vmor", "(a | b)")
logical("011011", "vmxor", "(a ^ b)")
logical("011100", "vmorn", "(a | ~b)")
logical("011101", "vmnand", "~(a & b)")
logical("011110", "vmnor", "~(a | b)")
logical("011111", "vmxnor", "~(a ^ b)")


@fn
def first(h: Hart, a: u64, vm: u32) -> u64:
    """The number of the first active element whose bit is set; all ones if there is none."""
    for word in range(h.vl + 63 >> 6):
        found = at_u64(a + word * 8).value & active(h, vm, word)
        if found != 0:
            return word * 64 + ctz(found)
    return ~u64(0)


@instruction("010000 vm vs2 10000 010 rd 1010111", "vcpop.m rd, vs2, vm")
def vcpop_m(h: Hart, vs2: u32, vm: u32) -> u64:
    lmul(h)
    from_start(h)
    a = register(h, vs2, i64(0))
    count: u64 = 0
    for word in range(h.vl + 63 >> 6):
        count += popcount(at_u64(a + word * 8).value & active(h, vm, word))
    return count


@instruction("010000 vm vs2 10001 010 rd 1010111", "vfirst.m rd, vs2, vm")
def vfirst_m(h: Hart, vs2: u32, vm: u32) -> u64:
    lmul(h)
    from_start(h)
    return first(h, register(h, vs2, i64(0)), vm)


@fn
def around_first(h: Hart, vd: u32, vs2: u32, vm: u32, before: bool, at: bool) -> None:
    """Set the active elements before the first one that is set in vs2, or that one, or both; clear the others."""
    lmul(h)
    from_start(h)
    apart(h, vd, i64(0), vs2, i64(0))
    d, a = destination(h, vd, vm, i64(0)), register(h, vs2, i64(0))
    place = first(h, a, vm)
    for word in range(h.vl + 63 >> 6):
        chosen = active(h, vm, word)
        old = at_u64(d + word * 8).value
        lower = below(place, word)
        new: u64 = lower if before else u64(0)
        if at and place >> 6 == word:
            new |= u64(1) << (place & 63)
        at_u64(d + word * 8).value = old & ~chosen | new & chosen


@instruction("010100 vm vs2 00001 010 vd 1010111", "vmsbf.m vd, vs2, vm")
def vmsbf_m(h: Hart, vd: u32, vs2: u32, vm: u32) -> None:
    around_first(h, vd, vs2, vm, True, False)


@instruction("010100 vm vs2 00010 010 vd 1010111", "vmsof.m vd, vs2, vm")
def vmsof_m(h: Hart, vd: u32, vs2: u32, vm: u32) -> None:
    around_first(h, vd, vs2, vm, False, True)


@instruction("010100 vm vs2 00011 010 vd 1010111", "vmsif.m vd, vs2, vm")
def vmsif_m(h: Hart, vd: u32, vs2: u32, vm: u32) -> None:
    around_first(h, vd, vs2, vm, True, True)


@instruction("010100 vm vs2 10000 010 vd 1010111", "viota.m vd, vs2, vm")
def viota_m(h: Hart, vd: u32, vs2: u32, vm: u32) -> None:
    log = lmul(h)
    from_start(h)
    apart(h, vd, log, vs2, i64(0))
    d, a = destination(h, vd, vm, log), register(h, vs2, i64(0))
    size = sew(h)
    count: u64 = 0
    for i in range(h.vl):
        put(h.vector + RESULT, i, count, size)
        if (at_u64(a + (i >> 6) * 8).value & active(h, vm, i >> 6)) >> (i & 63) & 1 != 0:
            count += 1
    keep(h, d, vm, size)


@instruction("010100 vm 00000 10001 010 vd 1010111", "vid.v vd, vm")
def vid_v(h: Hart, vd: u32, vm: u32) -> None:
    d = destination(h, vd, vm, lmul(h))
    size = sew(h)
    for i in range(h.vl):
        put(h.vector + RESULT, i, i, size)
    keep(h, d, vm, size)


OPS = operations(__name__)
