"""Carry-less multiplication by the host's instruction: LLVM text of zbc.product_low and product_high. No meaning of its
own."""
from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache


@cache
def available() -> bool:
    """Has the host PCLMULQDQ, and PEXTRQ to get at the upper half?"""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    import llvmlite.binding as llvm

    known = llvm.get_host_cpu_features()
    return bool(known.get("pclmul") and known.get("sse4.1"))


def half(number: int) -> Callable[[str], tuple[str, list[str]] | None]:
    """The lowering that gives that half of the product."""

    def build(symbol: str) -> tuple[str, list[str]] | None:
        if not available():
            return None
        name = "@llvm.x86.pclmulqdq"
        return f"""define internal i64 @"{symbol}"(i64 %a, i64 %b) alwaysinline nounwind {{
  %va = insertelement <2 x i64> poison, i64 %a, i64 0
  %vb = insertelement <2 x i64> poison, i64 %b, i64 0
  %p = call <2 x i64> {name}(<2 x i64> %va, <2 x i64> %vb, i8 0)
  %r = extractelement <2 x i64> %p, i64 {number}
  ret i64 %r
}}
""", [f"declare <2 x i64> {name}(<2 x i64>, <2 x i64>, i8)"]

    return build
