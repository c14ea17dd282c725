"""From the meaning for one element to loops over a group, one a width, and the choice among them. No instruction here.

An element's meaning is a generic function. Its parameters say what it needs: `a` an element of vs2, `b` of vs1 (or
the scalar), `c` of vd before, `k` a carry (0 or 1), `h` the hart, `rm` the FP rounding mode. Its loop writes the
elements it returns to the scratch group RESULT: all, or with `h` the active ones only, because flags depend on them.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from popek.isa.hart import ILLEGAL_INSTRUCTION, Hart
from popek.isa.vector import host
from popek.isa.vector.generic import Generic
from popek.isa.vector.layout import RESULT
from popek.isa.vector.views import VIEWS, whole_vectors
from popek.lang import Trap, at_u8, at_u16, at_u32, at_u64, cast, fn, i8, i16, i32, source_fn, u8, u16, u32, u64

SCOPE: dict[str, Any] = {
    "Hart": Hart, "Trap": Trap, "ILLEGAL_INSTRUCTION": ILLEGAL_INSTRUCTION, "RESULT": RESULT, "u8": u8, "u16": u16,
    "u32": u32, "u64": u64, "i8": i8, "i16": i16, "i32": i32, "at_u8": at_u8, "at_u16": at_u16, "at_u32": at_u32,
    "at_u64": at_u64, "cast": cast, **{view.__name__: view for view in VIEWS.values()}}  # fmt: skip


@fn(inline=True)
def sew(h: Hart) -> u32:
    """The logarithm of the bytes of an element: vtype.vsew."""
    return u32(h.vtype >> 3) & 7


def loop(element: Generic, bits: int, factors: Mapping[str, int], result: int, arithmetic: str) -> Any:
    """The loop for one width; arguments as of `kernel`."""
    name = f"{element.__name__}_loop_{bits}"
    needs = element.parameters
    widths = {p: 8 if p == "k" else bits * factors.get(p, 1) for p in needs if p in "abck"}
    call = f"element({', '.join(f'v{p}.e[i]' if p in widths else p for p in needs)})"
    parameters = ["h: Hart", "n: u64", "d: u64", "m: u64", *(f"{p}: u64" for p in widths), "rm: u32"]
    views = {**widths, "d": bits * result or 8, **({"m": 8} if "h" in needs else {})}
    active = ["        if vm.e[i] == 0:", "            continue"] if "h" in needs else []
    lines = [f"def {name}({', '.join(parameters)}) -> None:",
             *(f"    v{p} = cast({VIEWS[width].__name__}, {p})" for p, width in views.items()),
             f"    for i in range({'n' if active else whole_vectors('n', bits)}):", *active,
             f"        vd.e[i] = {call if result else f'u8({call})'}"]  # fmt: skip
    scope = {**SCOPE, "__name__": element.python.__module__, "element": element.at(bits)}
    lowered = host.loop(arithmetic, list(widths), widths, bits * result) if arithmetic else None
    return source_fn(name, "\n".join(lines) + "\n", scope, native=lowered)


def kernel(
    element: Generic, widths: Sequence[int], factors: Mapping[str, int], result: int, arithmetic: str = ""
) -> Any:
    """`<element>_all(h, m, a, b, c, k, rm)`: the loop for vtype's SEW; m ... k are addresses, 0 what is not needed.

    `factors`: how many times as wide operands are; `result`: the same, 0 for a bool. `arithmetic`: see host.loop.
    """
    name = f"{element.__name__}_all"
    groups = [p for p in element.parameters if p in "abck"]
    arguments = ", ".join(["h", "h.vl", "h.vector + RESULT", "m", *groups, "rm"])
    lines = [f"def {name}(h: Hart, m: u64, a: u64, b: u64, c: u64, k: u64, rm: u32) -> None:", "    size = sew(h)"]
    scope = {**SCOPE, "__name__": element.python.__module__, "sew": sew}
    for position, bits in enumerate(widths):
        size = bits.bit_length() - 4
        lines += [f"    {'el' if position else ''}if size == {size}:", f"        loop_{bits}({arguments})"]
        scope[f"loop_{bits}"] = loop(element, bits, factors, result, arithmetic)
    lines += ["    else:", "        raise Trap(ILLEGAL_INSTRUCTION, 0)"]
    return source_fn(name, "\n".join(lines) + "\n", scope)
