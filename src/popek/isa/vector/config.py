"""vsetvli, vsetivli, vsetvl: what the elements are, and how many. Unprivileged ISA, "V", "Configuration-Setting".

VLEN is 256, ELEN is 64. vl becomes the smaller one of AVL and VLMAX.
"""
from __future__ import annotations

from popek.isa.encoding import parse
from popek.isa.hart import VILL, Hart
from popek.isa.op import Op
from popek.lang import fn, u32, u64

KEEP = (1 << 64) - 1           # stands for the AVL of an instruction that keeps vl: VLMAX would be as large
FIELDS = 0xFF                  # of vtype: vma, vta, vsew, vlmul


@fn
def vlmax_of(vtype: u64) -> u64:
    """VLMAX for that vtype; 0 if it is not supported: elements wider than ELEN, or than the part of it that LMUL is."""
    log = (vtype & 7 ^ 4) + 1                      # of a group's bytes: 4 for the eighth of a register
    size = vtype >> 3 & 7
    if vtype & ~u64(FIELDS) != 0 or vtype & 7 == 4 or size > min(log - 2, 3):
        return 0
    return u64(1) << log >> size


@fn
def set_vector_type(h: Hart, avl: u64, keep: bool, vtype: u64) -> u64:
    """Set vtype and vl; the new vl."""
    vlmax = vlmax_of(vtype)
    if vlmax == 0:
        h.vtype = VILL
        h.vl = 0
        return 0
    h.vtype = vtype
    h.vl = min(h.vl if keep else avl, vlmax)
    return h.vl


@fn
def configure(h: Hart, word: u32) -> u64:
    """Any of the three. With x0 for AVL, VLMAX is wanted; with x0 for the result as well, the same vl."""
    rd, rs1 = word >> 7 & 31, word >> 15 & 31
    if word >> 30 == 3:
        return set_vector_type(h, u64(rs1), False, u64(word >> 20 & 0x3FF))
    avl = h.x[rs1] if rs1 != 0 else KEEP
    keep = rs1 == 0 and rd == 0
    if word >> 31 == 0:
        return set_vector_type(h, avl, keep, u64(word >> 20 & 0x7FF))
    return set_vector_type(h, avl, keep, h.x[word >> 20 & 31])


def _row(name: str, picture: str, operands: str) -> Op:
    return Op(name, f"{name} {operands}", parse(picture), "vector", configure, ("h", "word"), __name__)


OPS = (
    _row("vsetvli", "0 vtypei[10:0] rs1 111 rd 1010111", "rd, rs1, vtypei"),
    _row("vsetivli", "11 vtypei[9:0] uimm[4:0] 111 rd 1010111", "rd, uimm, vtypei"),
    _row("vsetvl", "1000000 rs2 rs1 111 rd 1010111", "rd, rs1, rs2"),
)
