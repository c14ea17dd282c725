"""The operations of isa/fp.py compiled for this machine, each run over arrays of operands. Not a test."""

from __future__ import annotations

import ctypes
from array import array
from functools import cache
from typing import Any

from popek.isa import fp
from popek.isa.hart import Hart
from popek.lang import Function, Trap, at_u64, objects, source_fn, u32, u64
from popek.lang.llvm import emit

ROUNDED = {"add": 2, "sub": 2, "mul": 2, "div": 2, "sqrt": 1, "fma": 3}
ROUNDED |= {"round": 1, "round_inexact": 1}
ROUNDED |= {f"to_{integer}": 1 for integer in ("i32", "u32", "i64", "u64")}
INTEGER = {"from_i64": 1, "from_u64": 1}
EXACT = {"eq": 2, "lt": 2, "le": 2, "min": 2, "max": 2, "lt_quiet": 2, "le_quiet": 2, "minimum": 2, "maximum": 2}
#: Number of operands by name.
OPERANDS = {
    **{f"f{w}_{name}": n for w in (32, 64) for name, n in {**ROUNDED, **INTEGER, **EXACT}.items()},
    "f32_to_f64": 1,
    "f64_to_f32": 1,
}


def rounds(name: str) -> bool:
    """Does the operation take a rounding mode?"""
    return name[4:] not in EXACT


def without_host(function: Any) -> Any:
    """The function as if the host could do nothing of it."""
    copy = Function(function.python)
    copy.symbol = f"{function.symbol}.integer"
    return copy


def loop(name: str, kind: str) -> Any:
    """f(h, operands, results, count, rm): result and flags of each tuple of operands.

    kind: "host" as instructions call it, "soft" by softfloat, "try" the substitute that may give up (flags 99 then).
    """
    target = getattr(fp, name)
    if kind == "soft":
        target = without_host(target)
    if kind == "try":
        target = fp.TRY.get(target, target)
    n = OPERANDS[name]
    arguments = ["h", *(f"at_u64(operands + {8 * i}).value" for i in range(n)), *(["rm"] if rounds(name) else [])]
    full = f"{kind}_{name}"
    scope = {"__name__": __name__, "Hart": Hart, "Trap": Trap, "u32": u32, "u64": u64, "at_u64": at_u64,
             "target": target, "fflags_read": fp.fflags_read, "fflags_write": fp.fflags_write}  # fmt: skip
    source = f"""def {full}(h: Hart, operands: u64, results: u64, count: u64, rm: u32) -> None:
    for i in range(count):
        fflags_write(h, 0)
        try:
            at_u64(results).value = u64(target({", ".join(arguments)}))
            at_u64(results + 8).value = u64(fflags_read(h))
        except Trap:
            at_u64(results).value = u64(fflags_read(h))
            at_u64(results + 8).value = 99
        operands += {8 * n}
        results += 16
"""
    return source_fn(full, source, scope, export=True)


LOOPS = {(name, kind): loop(name, kind) for name in OPERANDS for kind in ("host", "soft", "try")}


@cache
def library() -> objects.Library:
    """All loops, compiled."""
    return objects.build(emit([*LOOPS.values(), enter, leave])).link()


def run(name: str, kind: str, operands: array[int], rm: int) -> array[int]:
    """Results and flags, alternating."""
    count = len(operands) // OPERANDS[name]
    results = array("Q", bytes(16 * count))
    hart = Hart.ctype()()
    function = library().function(LOOPS[name, kind])
    function(ctypes.addressof(hart), operands.buffer_info()[0], results.buffer_info()[0], count, rm)
    return results


enter = source_fn("enter", "def enter(h: Hart) -> None:\n    target(h)\n",
                  {"__name__": __name__, "Hart": Hart, "target": fp.host_flags_enter}, export=True)  # fmt: skip
leave = source_fn("leave", "def leave(h: Hart) -> None:\n    target(h)\n",
                  {"__name__": __name__, "Hart": Hart, "target": fp.host_flags_leave}, export=True)  # fmt: skip
