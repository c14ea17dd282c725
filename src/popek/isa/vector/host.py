"""Loops of floating-point arithmetic on the host's vector unit: LLVM text. No meaning of its own.

As in fp_host, but 32 bytes at a time: where all elements are active, rounding is to nearest even and no result is a
NaN, the host's instruction is the whole story, and sets the flags. Other pieces, and the last elements, are left to the
loop over elements, which is `symbol.soft`.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence

from popek.isa.fp_host import NEAREST, STRICT, TYPES, UNLIKELY, Made, features

BYTES = 32
INTRINSIC = "@llvm.experimental.constrained"


def loop(operation: str, names: Sequence[str], widths: dict[str, int], result: int) -> Callable[[str], Made]:
    """`operation`: LLVM's name and its operands, "fma -b a c". `names`: the loop's groups; `widths` of elements."""
    name, *operands = operation.split()
    lanes = BYTES * 8 // result
    vector = f"<{lanes} x {TYPES[result][0]}>"
    intrinsic = f"{INTRINSIC}.{name}.v{lanes}f{result}"
    widen = f"{INTRINSIC}.fpext.v{lanes}f64.v{lanes}f32"

    def build(symbol: str) -> Made:
        if not features() or (name == "fma" and "fma" not in features()):
            return None
        declares = [f"declare {vector} {intrinsic}({', '.join([vector] * len(operands))}, metadata, metadata)"]
        loads = []
        for operand in operands:
            group = operand.lstrip("-")
            small = widths[group] != result
            lines, given = _load(operand, lanes, widths[group], "n" if small else "x")
            loads.append(lines)
            if small:
                loads.append(f"  %{group}x = call {vector} {widen}({given} %{group}n, {STRICT}) strictfp\n")
                declares.append(f"declare {vector} {widen}({given}, metadata)")
        values = ", ".join(f"{vector} %{operand.lstrip('-')}x" for operand in operands)
        parameters = "ptr %h, i64 %n, i64 %d, i64 %m" + "".join(f", i64 %{g}" for g in names) + ", i32 %rm"
        ones = int.from_bytes(bytes([1]) * lanes, "little")
        places = "".join(_place(g, widths[g], "i", "") for g in names)
        ends = "".join(_place(g, widths[g], "done", "end") for g in names)
        return f"""define internal void @"{symbol}"({parameters}) nounwind strictfp {{
entry:
  %nearest = icmp eq i32 %rm, 0
  %whole = and i64 %n, -{lanes}
  %any = icmp ne i64 %whole, 0
  %go = and i1 %nearest, %any
  br i1 %go, label %piece, label %last
piece:
  %i = phi i64 [ 0, %entry ], [ %next, %step ]
  %mat = add i64 %m, %i
  %mp = inttoptr i64 %mat to ptr
  %bytes = load i{lanes * 8}, ptr %mp, align 1
  %all = icmp eq i{lanes * 8} %bytes, {ones}
{_place("d", result, "i", "")}{places}  br i1 %all, label %fast, label %slow
fast:
{"".join(loads)}  %r = call {vector} {intrinsic}({values}, {NEAREST}, {STRICT}) strictfp
  %u = fcmp uno {vector} %r, %r
  %us = bitcast <{lanes} x i1> %u to i{lanes}
  %nan = icmp ne i{lanes} %us, 0
  br i1 %nan, label %slow, label %store, {UNLIKELY}
store:
  %dp = inttoptr i64 %dat to ptr
  store {vector} %r, ptr %dp, align 1
  br label %step
slow:
  call void @"{symbol}.soft"(ptr %h, i64 {lanes}, i64 %dat, i64 %mat{"".join(f", i64 %{g}at" for g in names)}, i32 %rm)
  br label %step
step:
  %next = add i64 %i, {lanes}
  %more = icmp ult i64 %next, %whole
  br i1 %more, label %piece, label %last
last:
  %done = phi i64 [ 0, %entry ], [ %whole, %step ]
  %left = sub i64 %n, %done
  %some = icmp ne i64 %left, 0
  br i1 %some, label %rest, label %out
rest:
  %mend = add i64 %m, %done
{_place("d", result, "done", "end")}{ends}  call void @"{symbol}.soft"(ptr %h, i64 %left, i64 %dend, i64 %mend{
            "".join(f", i64 %{g}end" for g in names)}, i32 %rm)
  br label %out
out:
  ret void
}}
""", declares

    return build


def _place(group: str, width: int, index: str, suffix: str) -> str:
    """%<group><suffix or at> := the address of the group's element %<index>."""
    name = group + (suffix or "at")
    return f"  %{name}o = mul i64 %{index}, {width // 8}\n  %{name} = add i64 %{group}, %{name}o\n"


def _load(operand: str, lanes: int, width: int, suffix: str) -> tuple[str, str]:
    """%<group><suffix> := the elements at %<group>at, with the other sign if the operand has a minus; its type."""
    group = operand.lstrip("-")
    vector, integers = f"<{lanes} x {TYPES[width][0]}>", f"<{lanes} x i{width}>"
    lines = f"  %{group}p = inttoptr i64 %{group}at to ptr\n"
    if group == operand:
        return lines + f"  %{group}{suffix} = load {vector}, ptr %{group}p, align 1\n", vector
    signs = ", ".join([f"i{width} {1 << width - 1}"] * lanes)
    return lines + f"""  %{group}i = load {integers}, ptr %{group}p, align 1
  %{group}s = xor {integers} %{group}i, <{signs}>
  %{group}{suffix} = bitcast {integers} %{group}s to {vector}
""", vector
