"""Loops of floating-point arithmetic on the host's vector unit: LLVM text. No meaning of its own.

As in fp_host, but 32 bytes at a time: where all elements are active, rounding is to nearest even, and the result is one
that both machines agree on (no NaN; of conversions, none that does not fit), the host's instruction is the whole
story, and sets the flags. Other pieces, and the last elements, are left to the loop over elements, `symbol.soft`.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from popek.isa.fp_host import NEAREST, STRICT, TYPES, UNLIKELY, Made, features

BYTES = 32
INTRINSIC = "@llvm.experimental.constrained"


class Piece(NamedTuple):
    """The text that makes %r of operands %<group>x, its type, what must be declared; %nan, if `asks`, sends it away."""

    lines: str
    type: str
    declares: Sequence[str]
    asks: bool = True


def loop(operation: str, names: Sequence[str], widths: Mapping[str, int], result: int) -> Callable[[str], Made]:
    """`operation`: LLVM's name and the operands, such as "fma -b a c", or "fcmps.olt a b" for a truth value (result 0).

    `names`: the loop's groups; `widths` of their elements.
    """
    name, *operands = operation.split()
    bits = result or widths[operands[0]]
    lanes = BYTES * 8 // max(bits, *(widths[o.lstrip("-")] for o in operands))

    def build(symbol: str) -> Made:
        if not features() or (name == "fma" and "fma" not in features()):
            return None
        loads, declares = [], []
        for operand in operands:
            lines, declared = _load(operand, lanes, widths[operand.lstrip("-")], bits, name)
            loads.append(lines)
            declares += declared
        piece = _piece(name, [operand.lstrip("-") for operand in operands], lanes, bits)
        asks = f"  br i1 %nan, label %slow, label %store, {UNLIKELY}\n" if piece.asks else "  br label %store\n"
        parameters = "ptr %h, i64 %n, i64 %d, i64 %m" + "".join(f", i64 %{g}" for g in names) + ", i32 %rm"
        here = _place("d", result or 8, "i", "at") + "".join(_place(g, widths[g], "i", "at") for g in names)
        ends = _place("d", result or 8, "done", "end") + "".join(_place(g, widths[g], "done", "end") for g in names)
        ones = int.from_bytes(bytes([1]) * lanes, "little")
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
{here}  br i1 %all, label %fast, label %slow
fast:
{"".join(loads)}{piece.lines}{asks}store:
  %dp = inttoptr i64 %dat to ptr
  store {piece.type} %r, ptr %dp, align 1
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
{ends}  call void @"{symbol}.soft"(ptr %h, i64 %left, i64 %dend, i64 %mend{
            "".join(f", i64 %{g}end" for g in names)}, i32 %rm)
  br label %out
out:
  ret void
}}
""", [*dict.fromkeys([*declares, *piece.declares])]

    return build


def _place(group: str, width: int, index: str, suffix: str) -> str:
    """%<group><suffix> := the address of the group's element %<index>."""
    name = group + suffix
    return f"  %{name}o = mul i64 %{index}, {width // 8}\n  %{name} = add i64 %{group}, %{name}o\n"


def _load(operand: str, lanes: int, width: int, bits: int, name: str) -> tuple[str, list[str]]:
    """%<group>x := the elements at %<group>at, in the result's format; with the other sign if there is a minus."""
    group = operand.lstrip("-")
    vector, integers = f"<{lanes} x {TYPES[width][0]}>", f"<{lanes} x i{width}>"
    lines = f"  %{group}p = inttoptr i64 %{group}at to ptr\n"
    if name == "sitofp":
        return f"{lines}  %{group}x = load {integers}, ptr %{group}p, align 1\n", []
    to = "n" if width != bits else "x"
    if group == operand:
        lines += f"  %{group}{to} = load {vector}, ptr %{group}p, align 1\n"
    else:
        signs = ", ".join([f"i{width} {1 << width - 1}"] * lanes)
        lines += f"""  %{group}i = load {integers}, ptr %{group}p, align 1
  %{group}s = xor {integers} %{group}i, <{signs}>
  %{group}{to} = bitcast {integers} %{group}s to {vector}
"""
    if width == bits:
        return lines, []
    wanted = f"<{lanes} x {TYPES[bits][0]}>"
    change, rounding = ("fpext", "") if width < bits else ("fptrunc", f"{NEAREST}, ")
    intrinsic = f"{INTRINSIC}.{change}.v{lanes}f{bits}.v{lanes}f{width}"
    kinds = f"{vector}, metadata" + ", metadata" * bool(rounding)
    call = f"  %{group}x = call {wanted} {intrinsic}({vector} %{group}n, {rounding}{STRICT}) strictfp\n"
    return lines + call, [f"declare {wanted} {intrinsic}({kinds})"]


def _piece(name: str, groups: Sequence[str], lanes: int, bits: int) -> Piece:
    """What is done with the operands."""
    vector, integers = f"<{lanes} x {TYPES[bits][0]}>", f"<{lanes} x i{bits}>"
    values = ", ".join(f"{vector} %{g}x" for g in groups)
    kind, _, predicate = name.partition(".")
    compare = f"{INTRINSIC}.{kind}.v{lanes}f{bits}"
    declared = f"declare <{lanes} x i1> {compare}({vector}, {vector}, metadata, metadata)"
    many = f"  %us = bitcast <{lanes} x i1> %u to i{lanes}\n  %nan = icmp ne i{lanes} %us, 0\n"
    if predicate:
        lines = f"""  %c = call <{lanes} x i1> {compare}({values}, metadata !"{predicate}", {STRICT}) strictfp
  %r = zext <{lanes} x i1> %c to <{lanes} x i8>
"""
        return Piece(lines, f"<{lanes} x i8>", [declared], asks=False)
    if kind in ("min", "max"):
        # The bits with all but the sign turned over in negative numbers order as the numbers do
        compare = f"{INTRINSIC}.fcmp.v{lanes}f{bits}"
        lines = f'  %u = call <{lanes} x i1> {compare}({values}, metadata !"uno", {STRICT}) strictfp\n{many}'
        shift = ", ".join([f"i{bits} {bits - 1}"] * lanes)
        one = ", ".join([f"i{bits} 1"] * lanes)
        for g in groups:
            lines += f"""  %{g}b = bitcast {vector} %{g}x to {integers}
  %{g}t = ashr {integers} %{g}b, <{shift}>
  %{g}u = lshr {integers} %{g}t, <{one}>
  %{g}k = xor {integers} %{g}b, %{g}u
"""
        less = "slt" if kind == "min" else "sgt"
        lines += f"""  %first = icmp {less} {integers} %{groups[0]}k, %{groups[1]}k
  %r = select <{lanes} x i1> %first, {vector} %{groups[0]}x, {vector} %{groups[1]}x
"""
        return Piece(lines, vector, [declared.replace(f".{kind}.", ".fcmp.")])
    declares = []
    if kind == "sitofp":
        intrinsic = f"{INTRINSIC}.{kind}.v{lanes}f{bits}.v{lanes}i{bits}"
        lines = f"  %r = call {vector} {intrinsic}({integers} %{groups[0]}x, {NEAREST}, {STRICT}) strictfp\n"
        return Piece(lines, vector, [f"declare {vector} {intrinsic}({integers}, metadata, metadata)"], asks=False)
    if kind == "fptosi":
        intrinsic = f"{INTRINSIC}.{kind}.v{lanes}i{bits}.v{lanes}f{bits}"
        least = ", ".join([f"i{bits} {1 << bits - 1}"] * lanes)      # x86's answer to what does not fit
        lines = f"""  %r = call {integers} {intrinsic}({values}, {STRICT}) strictfp
  %u = icmp eq {integers} %r, <{least}>
{many}"""
        return Piece(lines, integers, [f"declare {integers} {intrinsic}({vector}, metadata)"])
    if kind == "format":
        lines = f"  %r = select i1 true, {vector} %{groups[0]}x, {vector} %{groups[0]}x\n"
    else:
        intrinsic = f"{INTRINSIC}.{kind}.v{lanes}f{bits}"
        lines = f"  %r = call {vector} {intrinsic}({values}, {NEAREST}, {STRICT}) strictfp\n"
        declares = [f"declare {vector} {intrinsic}({', '.join([vector] * len(groups))}, metadata, metadata)"]
    return Piece(f"{lines}  %u = fcmp uno {vector} %r, %r\n{many}", vector, declares)
