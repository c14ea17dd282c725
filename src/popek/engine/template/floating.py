"""Floating point in templates: the host lowerings of isa/fp with their rare cases turned into leaving for the slow path.

A template cannot call: where a lowering calls the integer arithmetic (`symbol.soft`), its version here raises instead,
and the slow path executes the instruction again, through the same isa function. Nothing about floating point is decided here.
"""
from __future__ import annotations

import re
from typing import Any

from popek.isa import fp
from popek.isa.hart import Hart
from popek.lang import Trap, source_fn, u32, u64

_SOFT = re.compile(r'  %s = call i64 @"[^"]*\.soft"\([^)]*\)\n  (?:br label %done|ret i64 %s)\n')
_PAIR = "{ i64, i1 }"


def bailing() -> dict[Any, Any]:
    """isa.fp's function -> the one that templates use instead."""
    made = {}
    for name, function in vars(fp).items():
        if getattr(function, "native", None) and name.startswith(("f32_", "f64_")):
            lowered = function.native(function.symbol)
            if lowered is None or ".soft" in lowered[0]:
                made[function] = _version(name, function)
    return made


def _version(name: str, function: Any) -> Any:
    code = function.python.__code__
    parameters = ", ".join(f"{p}: {({'h': 'Hart', 'rm': 'u32'}).get(p, 'u64')}" for p in code.co_varnames[:code.co_argcount])
    source = f"def try_{name}({parameters}) -> u64:\n    raise Trap(0, 0)\n"

    def build(symbol: str) -> tuple[str, list[str]] | None:
        lowered = function.native(function.symbol)
        if lowered is None:
            return None
        text = _SOFT.sub(f"  ret {_PAIR} {{ i64 poison, i1 true }}\n", lowered[0]).replace(", [ %s, %soft ]", "")
        returns = iter(range(100))

        def pair(found: re.Match[str]) -> str:
            n = next(returns)
            return f"  %pair{n} = insertvalue {_PAIR} {{ i64 poison, i1 false }}, i64 {found[1]}, 0\n  ret {_PAIR} %pair{n}\n"

        text = re.sub(r"  ret i64 (\S+)\n", pair, text)
        return text.replace(f'define internal i64 @"{function.symbol}"', f'define internal {_PAIR} @"{symbol}"'), lowered[1]

    scope = {"__name__": __name__, "Trap": Trap, "Hart": Hart, "u64": u64, "u32": u32}
    return source_fn(f"try_{name}", source, scope, native=build)

