"""Reductions. Unprivileged ISA, "V", "Vector Reduction Operations".

An element's meaning takes `c`, what has been gathered, beginning with vs1[0], and `a`, an element of vs2. Unordered
sums are made in order, too. A reduction starts at element 0, or is an illegal instruction.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from popek.isa import fp
from popek.isa.hart import Hart
from popek.isa.vector.families import FUNCT3, declare, operations, written
from popek.isa.vector.float import f_add, f_max, f_min
from popek.isa.vector.generic import WIDTHS, Generic, S, U, W, generic
from popek.isa.vector.kernels import SCOPE
from popek.isa.vector.masking import from_start
from popek.isa.vector.views import VIEWS
from popek.lang import source_fn, u32, u64


def reduction(
    kind: str, funct6: str, mnemonic: str = "", widths: Sequence[int] = WIDTHS, wide: int = 1
) -> Callable[[Any], Any]:
    """Declare the reduction with a generic function; `wide`: how many times as wide as SEW the result is."""

    def make(element: Generic) -> Generic:
        name = mnemonic or element.__name__
        scope: dict[str, Any] = {}
        lines = []
        for position, bits in enumerate(widths):
            scope[f"loop_{bits}"] = _loop(element, name, bits, wide)
            lines += [f"{'el' if position else ''}if size == {bits.bit_length() - 4}:",
                      f"    loop_{bits}(h, h.vl, begin(h, vm), d, a, b, rm)"]  # fmt: skip
        body = [f"rm = {'floats(h)' if kind == 'f' else 'u32(0)'}", "log = lmul(h)", "from_start(h)", "size = sew(h)",
                "a = register(h, vs2, log)", "b = register(h, vs1, i64(0))", "d = register(h, vd, i64(0))",
                *lines, "else:", "    raise Trap(ILLEGAL_INSTRUCTION, 0)",
                *written(kind)]  # fmt: skip
        function = f"{name}_vs"
        source = f"def {function}(h: Hart, vd: u32, vs1: u32, vs2: u32, vm: u32) -> None:\n    " + "\n    ".join(body)
        declare(__name__, function, f"{funct6} vm vs2 vs1 {FUNCT3[kind + 'v']} vd 1010111",
                f"{name}.vs vd, vs2, vs1, vm", source + "\n", {**scope, "from_start": from_start})
        return element

    return make


def _loop(element: Generic, name: str, bits: int, wide: int) -> Any:
    """The loop for one width."""
    full, out = f"{name}_loop_{bits}", bits * wide
    call = ", ".join({"a": "va.e[i]"}.get(p, p) for p in element.parameters)
    source = f"""def {full}(h: Hart, n: u64, m: u64, d: u64, a: u64, b: u64, rm: u32) -> None:
    if n == 0:
        return
    vm, va = cast(Bytes, m), cast({VIEWS[bits].__name__}, a)
    c = at_u{out}(b).value
    for i in range(n):
        if vm.e[i] != 0:
            c = element({call})
    at_u{out}(d).value = c
"""
    return source_fn(full, source, {**SCOPE, "__name__": __name__, "element": element.at(bits)})


@reduction("m", "000000")
@generic
def vredsum(a: U, c: U) -> U:
    return c + a


@reduction("m", "000001")
@generic
def vredand(a: U, c: U) -> U:
    return c & a


@reduction("m", "000010")
@generic
def vredor(a: U, c: U) -> U:
    return c | a


@reduction("m", "000011")
@generic
def vredxor(a: U, c: U) -> U:
    return c ^ a


@reduction("m", "000100")
@generic
def vredminu(a: U, c: U) -> U:
    return min(a, c)


@reduction("m", "000101")
@generic
def vredmin(a: U, c: U) -> U:
    return U(min(S(a), S(c)))


@reduction("m", "000110")
@generic
def vredmaxu(a: U, c: U) -> U:
    return max(a, c)


@reduction("m", "000111")
@generic
def vredmax(a: U, c: U) -> U:
    return U(max(S(a), S(c)))


@reduction("i", "110000", widths=WIDTHS[:3], wide=2)
@generic
def vwredsumu(a: U, c: W) -> W:
    return c + W(a)


@reduction("i", "110001", widths=WIDTHS[:3], wide=2)
@generic
def vwredsum(a: U, c: W) -> W:
    return c + W(S(a))


@reduction("f", "000001", "vfredusum", WIDTHS[2:])
@reduction("f", "000011", "vfredosum", WIDTHS[2:])
@generic
def sum_in_order(h: Hart, a: U, c: U, rm: u32) -> U:
    return U(f_add(h, u64(c), u64(a), rm))


@reduction("f", "000101", widths=WIDTHS[2:])
@generic
def vfredmin(h: Hart, a: U, c: U) -> U:
    return U(f_min(h, u64(c), u64(a)))


@reduction("f", "000111", widths=WIDTHS[2:])
@generic
def vfredmax(h: Hart, a: U, c: U) -> U:
    return U(f_max(h, u64(c), u64(a)))


@reduction("f", "110001", "vfwredusum", (32,), wide=2)
@reduction("f", "110011", "vfwredosum", (32,), wide=2)
@generic
def wide_sum_in_order(h: Hart, a: U, c: W, rm: u32) -> W:
    return fp.f64_add(h, c, fp.f32_to_f64(h, u64(a), rm), rm)


OPS = operations(__name__)
