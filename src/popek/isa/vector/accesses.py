"""Names and encodings of vector loads and stores; what they do is memory's. Unprivileged ISA, "V", table "nf[2:0]"."""
from __future__ import annotations

from collections.abc import Iterator

from popek.isa.encoding import parse
from popek.isa.op import Op
from popek.isa.vector import memory

WIDTHS = {8: "000", 16: "101", 32: "110", 64: "111"}


def _op(mnemonic: str, picture: str, operands: str) -> Op:
    """`picture`: the upper half, up to rs1."""
    load = mnemonic[1] == "l"
    meaning, opcode, register = (memory.load, "0000111", "vd") if load else (memory.store, "0100111", "vs3")
    name = mnemonic.replace(".", "_")
    encoding = parse(f"{picture} {register} {opcode}")
    return Op(name, f"{mnemonic} {register}, {operands}", encoding, "vector", meaning, ("h", "word"), __name__)


def _rows() -> Iterator[Op]:
    for way in "ls":
        for fields in range(1, 9):
            number, seg = f"{fields - 1:03b}", f"seg{fields}" if fields > 1 else ""
            for bits, code in WIDTHS.items():
                yield _op(f"v{way}{seg}e{bits}.v", f"{number} 000 vm 00000 rs1 {code}", "(rs1), vm")
                yield _op(f"v{way}s{seg}e{bits}.v", f"{number} 010 vm rs2 rs1 {code}", "(rs1), rs2, vm")
                yield _op(f"v{way}ux{seg}ei{bits}.v", f"{number} 001 vm vs2 rs1 {code}", "(rs1), vs2, vm")
                yield _op(f"v{way}ox{seg}ei{bits}.v", f"{number} 011 vm vs2 rs1 {code}", "(rs1), vs2, vm")
                if way == "l":
                    yield _op(f"vl{seg}e{bits}ff.v", f"{number} 000 vm 10000 rs1 {code}", "(rs1), vm")
        yield _op(f"v{way}m.v", "000 000 1 01011 rs1 000", "(rs1)")
    for count in (1, 2, 4, 8):
        for bits, code in WIDTHS.items():
            yield _op(f"vl{count}re{bits}.v", f"{count - 1:03b} 000 1 01000 rs1 {code}", "(rs1)")
        yield _op(f"vs{count}r.v", f"{count - 1:03b} 000 1 01000 rs1 000", "(rs1)")


OPS = tuple(_rows())
