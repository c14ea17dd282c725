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

from popek.isa.hart import Hart

Made = tuple[str, list[str]] | None
Builder = Callable[[int], Callable[[str], Made]]

#: MXCSR with all exceptions masked, rounding to nearest, no flushing to zero, no flag set (Intel SDM 1, "MXCSR").
DEFAULT_MXCSR = 0x1F80
_NEAREST, _STRICT = 'metadata !"round.tonearest"', 'metadata !"fpexcept.strict"'
_UNLIKELY, _LIKELY = "!prof !0", "!prof !1"     # branch weights that lang.llvm defines
_TYPES = {32: ("float", 8, 23), 64: ("double", 11, 52)}


@cache
def features() -> frozenset[str]:
    """What the host's unit has of what is asked for here; empty if it is not used at all."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return frozenset()
    import llvmlite.binding as llvm

    known = llvm.get_host_cpu_features()
    return frozenset({"sse2"} | {name for name in ("fma", "sse4.1") if known.get(name)})


def _operand(name: str, width: int) -> str:
    """%f<name> := the bits in the i64 %<name>."""
    if width == 64:
        return f"  %f{name} = bitcast i64 %{name} to double\n"
    return f"  %t{name} = trunc i64 %{name} to i32\n  %f{name} = bitcast i32 %t{name} to float\n"


def _bits(name: str, width: int) -> str:
    """%bits := the bits of the number %<name>, as i64."""
    if width == 64:
        return f"  %bits = bitcast double %{name} to i64\n"
    return f"  %small = bitcast float %{name} to i32\n  %bits = zext i32 %small to i64\n"


def _canonical(width: int) -> int:
    return 0x7FF8 << 48 if width == 64 else 0x7FC0 << 16


def _power_of_two(exponent: int, width: int) -> int:
    """The bits of 2**exponent."""
    _, eb, fb = _TYPES[width]
    return exponent + (1 << eb - 1) - 1 << fb


def _function(symbol: str, names: str, body: str, result: str = "i64", rm: bool = True) -> str:
    """A definition with i64 operands of those names; `{soft}` in the body is a call of the integer version."""
    parameters = "ptr %h" + "".join(f", i64 %{name}" for name in names) + (", i32 %rm" if rm else "")
    soft = f'call {result} @"{symbol}.soft"({parameters})'
    head = f'define internal {result} @"{symbol}"({parameters}) alwaysinline nounwind strictfp {{\n'
    return head + body.replace("{soft}", soft) + "}\n"


def _rounded(symbol: str, names: str, width: int, number: str, operands: str, nan: str = "canonical") -> str:
    """The shape of operations that round: `number` computes %r from %f<operands>; `nan` is where a NaN result goes."""
    kind = _TYPES[width][0]
    loads = "".join(_operand(name, width) for name in operands)
    return _function(symbol, names, f"""  %nearest = icmp eq i32 %rm, 0
  br i1 %nearest, label %fast, label %soft, {_LIKELY}
fast:
{loads}{number}{_bits("r", width)}  %nan = fcmp uno {kind} %r, %r
  br i1 %nan, label %{nan}, label %done, {_UNLIKELY}
canonical:
  br label %done
soft:
  %s = {{soft}}
  br label %done
done:
  %v = phi i64 [ %bits, %fast ], [ {_canonical(width)}, %canonical ], [ %s, %soft ]
  ret i64 %v
""")


def arithmetic(intrinsic: str, names: str) -> Builder:
    """fadd, fsub, fmul, fdiv, sqrt."""

    def build(width: int, symbol: str) -> Made:
        if not features():
            return None
        kind = _TYPES[width][0]
        name = f"@llvm.experimental.constrained.{intrinsic}.f{width}"
        arguments = ", ".join(f"{kind} %f{n}" for n in names)
        text = f"  %r = call {kind} {name}({arguments}, {_NEAREST}, {_STRICT}) strictfp\n"
        kinds = ", ".join([kind] * len(names) + ["metadata", "metadata"])
        return _rounded(symbol, names, width, text, names), [f"declare {kind} {name}({kinds})"]

    return lambda width: lambda symbol: build(width, symbol)


def fused(width: int) -> Callable[[str], Made]:
    """fma. x86 does not flag infinity * 0 + quiet NaN as RISC-V does: softfloat sets the flags of NaN results."""

    def build(symbol: str) -> Made:
        if "fma" not in features():
            return None
        kind = _TYPES[width][0]
        name = f"@llvm.experimental.constrained.fma.f{width}"
        text = f"  %r = call {kind} {name}({kind} %fa, {kind} %fb, {kind} %fc, {_NEAREST}, {_STRICT}) strictfp\n"
        made = _rounded(symbol, "abc", width, text, "abc", nan="soft")
        made = made.replace("canonical:\n  br label %done\n", "").replace(f"[ {_canonical(width)}, %canonical ], ", "")
        return made, [f"declare {kind} {name}({kind}, {kind}, {kind}, metadata, metadata)"]

    return build


def compare(predicate: str, signaling: bool) -> Builder:
    """feq (quiet), flt and fle (signaling)."""

    def build(width: int, symbol: str) -> Made:
        if not features():
            return None
        kind = _TYPES[width][0]
        name = f"@llvm.experimental.constrained.fcmp{'s' if signaling else ''}.f{width}"
        loads, arguments = _operand("a", width) + _operand("b", width), f"{kind} %fa, {kind} %fb"
        body = f"""{loads}  %r = call i1 {name}({arguments}, metadata !"{predicate}", {_STRICT}) strictfp
  ret i1 %r
"""
        return _function(symbol, "ab", body, "i1", rm=False), [f"declare i1 {name}({kind}, {kind}, metadata, metadata)"]

    return lambda width: lambda symbol: build(width, symbol)


def extreme(predicate: str) -> Builder:
    """fmin, fmax: a quiet comparison finds NaNs and signals those that signal; the rest orders as integers do."""

    def build(width: int, symbol: str) -> Made:
        if not features():
            return None
        kind = _TYPES[width][0]
        name = f"@llvm.experimental.constrained.fcmp.f{width}"
        # The bits with all but the sign turned over in negative numbers order as the numbers do
        keys = "".join(f"""  %{n}i = bitcast {kind} %f{n} to i{width}
  %{n}s = ashr i{width} %{n}i, {width - 1}
  %{n}m = lshr i{width} %{n}s, 1
  %{n}k = xor i{width} %{n}i, %{n}m
""" for n in "ab")
        loads, arguments = _operand("a", width) + _operand("b", width), f"{kind} %fa, {kind} %fb"
        body = f"""{loads}  %u = call i1 {name}({arguments}, metadata !"uno", {_STRICT}) strictfp
  br i1 %u, label %soft, label %fast, {_UNLIKELY}
fast:
{keys}  %first = icmp {predicate} i{width} %ak, %bk
  %r = select i1 %first, i64 %a, i64 %b
  ret i64 %r
soft:
  %s = {{soft}}
  ret i64 %s
"""
        return _function(symbol, "ab", body, rm=False), [f"declare i1 {name}({kind}, {kind}, metadata, metadata)"]

    return lambda width: lambda symbol: build(width, symbol)


def to_integer(bits: int, signed: bool) -> Builder:
    """Conversions to an integer, rounding to nearest or toward zero, of what surely fits; the rest is softfloat's."""

    def build(width: int, symbol: str) -> Made:
        if "sse4.1" not in features():
            return None
        kind = _TYPES[width][0]
        rint = f"@llvm.experimental.constrained.rint.f{width}"
        fptosi = f"@llvm.experimental.constrained.fptosi.i64.f{width}"
        top = min(bits - 1 if signed else bits, 63)      # |a| < 2**top fits when rounded toward zero
        scale = 65 - width if signed else 0              # shift the sign out, or let it make the number too large
        limits = [_power_of_two(top - 1, width) << scale, _power_of_two(top, width) << scale]
        extend = "  %w = trunc i64 %i to i32\n  %v = sext i32 %w to i64\n" if bits == 32 else "  %v = add i64 %i, 0\n"
        body = f"""{_operand("a", width)}  %size = shl i64 %a, {scale}
  switch i32 %rm, label %soft [ i32 0, label %near i32 1, label %chop ]
near:
  %small = icmp ult i64 %size, {limits[0]}
  br i1 %small, label %round, label %soft, {_LIKELY}
round:
  %whole = call {kind} {rint}({kind} %fa, {_NEAREST}, {_STRICT}) strictfp
  br label %convert
chop:
  %fits = icmp ult i64 %size, {limits[1]}
  br i1 %fits, label %convert, label %soft, {_LIKELY}
convert:
  %r = phi {kind} [ %whole, %round ], [ %fa, %chop ]
  %i = call i64 {fptosi}({kind} %r, {_STRICT}) strictfp
{extend}  ret i64 %v
soft:
  %s = {{soft}}
  ret i64 %s
"""
        return _function(symbol, "a", body), [
            f"declare {kind} {rint}({kind}, metadata, metadata)", f"declare i64 {fptosi}({kind}, metadata)"]

    return lambda width: lambda symbol: build(width, symbol)


def from_integer(signed: bool) -> Builder:
    """Conversions of 64-bit integers. Unsigned ones of 2**63 and more are softfloat's."""

    def build(width: int, symbol: str) -> Made:
        if not features():
            return None
        kind = _TYPES[width][0]
        name = f"@llvm.experimental.constrained.sitofp.f{width}.i64"
        guard = "" if signed else "  %positive = icmp sge i64 %a, 0\n  %go = and i1 %nearest, %positive\n"
        body = f"""  %nearest = icmp eq i32 %rm, 0
{guard}  br i1 %{"nearest" if signed else "go"}, label %fast, label %soft, {_LIKELY}
fast:
  %r = call {kind} {name}(i64 %a, {_NEAREST}, {_STRICT}) strictfp
{_bits("r", width)}  ret i64 %bits
soft:
  %s = {{soft}}
  ret i64 %s
"""
        return _function(symbol, "a", body), [f"declare {kind} {name}(i64, metadata, metadata)"]

    return lambda width: lambda symbol: build(width, symbol)


def narrow(symbol: str) -> Made:
    """binary64 to binary32."""
    if not features():
        return None
    name = "@llvm.experimental.constrained.fptrunc.f32.f64"
    text = f"{_operand('a', 64)}  %r = call float {name}(double %fa, {_NEAREST}, {_STRICT}) strictfp\n"
    return _rounded(symbol, "a", 32, text, ""), [f"declare float {name}(double, metadata, metadata)"]


def widen(symbol: str) -> Made:
    """binary32 to binary64: exact, whatever the rounding mode."""
    if not features():
        return None
    name = "@llvm.experimental.constrained.fpext.f64.f32"
    body = f"""{_operand("a", 32)}  %r = call double {name}(float %fa, {_STRICT}) strictfp
{_bits("r", 64)}  %nan = fcmp uno double %r, %r
  br i1 %nan, label %soft, label %done, {_UNLIKELY}
soft:
  %s = {{soft}}
  ret i64 %s
done:
  ret i64 %bits
"""
    return _function(symbol, "a", body), [f"declare double {name}(float, metadata)"]


def enter(symbol: str) -> Made:
    """MXCSR as the guest's arithmetic needs it."""
    if not features():
        return None
    return f"""define internal void @"{symbol}"(ptr %h) noinline nounwind strictfp {{
  %slot = alloca i32
  store i32 {DEFAULT_MXCSR}, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  ret void
}}
""", ["declare void @llvm.x86.sse.ldmxcsr(ptr)"]


def leave(symbol: str) -> Made:
    """MXCSR's flags into h.fflags, then cleared. x86: IE DE ZE OE UE PE from bit 0; RISC-V: NX UF OF DZ NV."""
    if not features():
        return None
    moves = "".join(f"""  %m{bit} = lshr i32 %x, {bit}
  %o{bit} = and i32 %m{bit}, 1
  %p{bit} = shl i32 %o{bit}, {to}
  %f{bit} = or i32 %f{before}, %p{bit}
""" for before, bit, to in (("", 0, 4), (0, 2, 3), (2, 3, 2), (3, 4, 1), (4, 5, 0)))
    return f"""define internal void @"{symbol}"(ptr %h) noinline nounwind strictfp {{
  %slot = alloca i32
  call void @llvm.x86.sse.stmxcsr(ptr %slot)
  %x = load i32, ptr %slot
  %any = and i32 %x, 63
  %none = icmp eq i32 %any, 0
  br i1 %none, label %done, label %some
some:
  %flags = getelementptr i8, ptr %h, i64 {Hart.offset("fflags")}
  %f = load i32, ptr %flags
{moves}  store i32 %f5, ptr %flags
  %clear = and i32 %x, -64
  store i32 %clear, ptr %slot
  call void @llvm.x86.sse.ldmxcsr(ptr %slot)
  br label %done
done:
  ret void
}}
""", ["declare void @llvm.x86.sse.stmxcsr(ptr)", "declare void @llvm.x86.sse.ldmxcsr(ptr)"]
