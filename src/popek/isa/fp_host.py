"""Floating point on the host's own unit: LLVM text of the operations in fp.py. No meaning of its own.

x86-64 rounds like RISC-V (tininess is detected after rounding on both; Intel SDM 1, "Underflow exception"), and keeps
accrued flags in MXCSR. While generated code runs, the guest's flags are the OR of `h.fflags` and MXCSR. What the host
does otherwise goes to the integer arithmetic of softfloat, the function `symbol.soft`: rounding modes but to nearest
even, invalid conversions, the flags of a fused operation that gives a NaN. NaN results become the canonical NaN.

Every operation is one constrained intrinsic with strict exceptions, so that LLVM neither drops nor moves it; bits stay
integers, because a floating-point constant would need a constant pool, which templates do not have.
"""
from __future__ import annotations

import platform
from collections.abc import Callable
from functools import cache

Made = tuple[str, list[str]] | None
Builder = Callable[[int], Callable[[str], Made]]

NEAREST, STRICT = 'metadata !"round.tonearest"', 'metadata !"fpexcept.strict"'
UNLIKELY, LIKELY = "!prof !0", "!prof !1"     # branch weights that lang.llvm defines
ATTRIBUTES = "alwaysinline nounwind strictfp"
TYPES = {32: ("float", 8, 23), 64: ("double", 11, 52)}


@cache
def features() -> frozenset[str]:
    """What the host's unit has of what is asked for here; empty if it is not used at all."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return frozenset()
    import llvmlite.binding as llvm

    known = llvm.get_host_cpu_features()
    return frozenset({"sse2"} | {name for name in ("fma", "sse4.1") if known.get(name)})


def operand(name: str, width: int) -> str:
    """%f<name> := the bits in the i64 %<name>."""
    if width == 64:
        return f"  %f{name} = bitcast i64 %{name} to double\n"
    return f"  %t{name} = trunc i64 %{name} to i32\n  %f{name} = bitcast i32 %t{name} to float\n"


def bits_of(name: str, width: int) -> str:
    """%bits := the bits of the number %<name>, as i64."""
    if width == 64:
        return f"  %bits = bitcast double %{name} to i64\n"
    return f"  %small = bitcast float %{name} to i32\n  %bits = zext i32 %small to i64\n"


def canonical_nan(width: int) -> int:
    return 0x7FF8 << 48 if width == 64 else 0x7FC0 << 16


def function(symbol: str, names: str, body: str, result: str = "i64", rm: bool = True) -> str:
    """A definition with i64 operands of those names. Block `soft`, if the body goes there, calls softfloat."""
    parameters = "ptr %h" + "".join(f", i64 %{name}" for name in names) + (", i32 %rm" if rm else "")
    if "%soft" in body:
        body += f'soft:\n  %s = call {result} @"{symbol}.soft"({parameters})\n  ret {result} %s\n'
    return f'define internal {result} @"{symbol}"({parameters}) {ATTRIBUTES} {{\nentry:\n{body}}}\n'


def rounded(symbol: str, names: str, width: int, number: str, operands: str, nan: str = "canonical") -> str:
    """The shape of operations that round: `number` computes %r from %f<operands>; `nan` is where a NaN goes."""
    kind = TYPES[width][0]
    loads = "".join(operand(name, width) for name in operands)
    canonical = f"canonical:\n  ret i64 {canonical_nan(width)}\n" if nan == "canonical" else ""
    return function(symbol, names, f"""  %nearest = icmp eq i32 %rm, 0
  br i1 %nearest, label %fast, label %soft, {LIKELY}
fast:
{loads}{number}  %nan = fcmp uno {kind} %r, %r
  br i1 %nan, label %{nan}, label %done, {UNLIKELY}
{canonical}done:
{bits_of("r", width)}  ret i64 %bits
""")


def arithmetic(intrinsic: str, names: str) -> Builder:
    """fadd, fsub, fmul, fdiv, sqrt."""

    def build(width: int, symbol: str) -> Made:
        if not features():
            return None
        kind = TYPES[width][0]
        name = f"@llvm.experimental.constrained.{intrinsic}.f{width}"
        arguments = ", ".join(f"{kind} %f{n}" for n in names)
        text = f"  %r = call {kind} {name}({arguments}, {NEAREST}, {STRICT}) strictfp\n"
        kinds = ", ".join([kind] * len(names) + ["metadata", "metadata"])
        return rounded(symbol, names, width, text, names), [f"declare {kind} {name}({kinds})"]

    return lambda width: lambda symbol: build(width, symbol)


def integral(intrinsic: str) -> Builder:
    """nearbyint, rint: one instruction since SSE4.1."""
    build = arithmetic(intrinsic, "a")
    return lambda width: lambda symbol: build(width)(symbol) if "sse4.1" in features() else None


def fused(width: int) -> Callable[[str], Made]:
    """fma. x86 does not flag infinity * 0 + quiet NaN as RISC-V does: softfloat sets the flags of NaN results."""

    def build(symbol: str) -> Made:
        if "fma" not in features():
            return None
        kind = TYPES[width][0]
        name = f"@llvm.experimental.constrained.fma.f{width}"
        text = f"  %r = call {kind} {name}({kind} %fa, {kind} %fb, {kind} %fc, {NEAREST}, {STRICT}) strictfp\n"
        declare = f"declare {kind} {name}({kind}, {kind}, {kind}, metadata, metadata)"
        return rounded(symbol, "abc", width, text, "abc", nan="soft"), [declare]

    return build


def compare(predicate: str, signaling: bool) -> Builder:
    """feq (quiet), flt and fle (signaling)."""

    def build(width: int, symbol: str) -> Made:
        if not features():
            return None
        kind = TYPES[width][0]
        name = f"@llvm.experimental.constrained.fcmp{'s' if signaling else ''}.f{width}"
        loads, arguments = operand("a", width) + operand("b", width), f"{kind} %fa, {kind} %fb"
        body = f"""{loads}  %r = call i1 {name}({arguments}, metadata !"{predicate}", {STRICT}) strictfp
  ret i1 %r
"""
        return function(symbol, "ab", body, "i1", rm=False), [f"declare i1 {name}({kind}, {kind}, metadata, metadata)"]

    return lambda width: lambda symbol: build(width, symbol)


def extreme(predicate: str) -> Builder:
    """fmin, fmax: a quiet comparison finds NaNs and signals those that signal; the rest orders as integers do."""

    def build(width: int, symbol: str) -> Made:
        if not features():
            return None
        kind = TYPES[width][0]
        name = f"@llvm.experimental.constrained.fcmp.f{width}"
        # The bits with all but the sign turned over in negative numbers order as the numbers do
        keys = "".join(f"""  %{n}i = bitcast {kind} %f{n} to i{width}
  %{n}s = ashr i{width} %{n}i, {width - 1}
  %{n}m = lshr i{width} %{n}s, 1
  %{n}k = xor i{width} %{n}i, %{n}m
""" for n in "ab")
        loads, arguments = operand("a", width) + operand("b", width), f"{kind} %fa, {kind} %fb"
        body = f"""{loads}  %u = call i1 {name}({arguments}, metadata !"uno", {STRICT}) strictfp
  br i1 %u, label %soft, label %fast, {UNLIKELY}
fast:
{keys}  %first = icmp {predicate} i{width} %ak, %bk
  %r = select i1 %first, i64 %a, i64 %b
  ret i64 %r
"""
        return function(symbol, "ab", body, rm=False), [f"declare i1 {name}({kind}, {kind}, metadata, metadata)"]

    return lambda width: lambda symbol: build(width, symbol)


def attempt(made: Made) -> Made:
    """The same lowering, raising Trap where it would call softfloat, and for NaN results: { bits, raised }."""
    if made is None:
        return None
    lines, returns, label = [], [], ""
    for line in made[0].replace("define internal i64", "define internal { i64, i1 }").splitlines()[:-1]:
        if line.endswith(":"):
            label = line[:-1]
        value = line.removeprefix("  ret i64 ")
        if value == line:
            lines.append(line)
        else:
            returns.append((label, "poison", "true") if label in ("soft", "canonical") else (label, value, "false"))
            lines.append("  br label %return")
    lines = [line for line in lines if '.soft"(' not in line]
    values, raised = (", ".join(f"[ {row[i]}, %{row[0]} ]" for row in returns) for i in (1, 2))
    return "\n".join([*lines, f"""return:
  %value = phi i64 {values}
  %raised = phi i1 {raised}
  %half = insertvalue {{ i64, i1 }} poison, i64 %value, 0
  %pair = insertvalue {{ i64, i1 }} %half, i1 %raised, 1
  ret {{ i64, i1 }} %pair
}}
"""]), made[1]
