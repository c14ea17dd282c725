"""Conversions on the host's own unit: LLVM text, shaped as in fp_host.py. Nothing else."""
from __future__ import annotations

from popek.isa.fp_host import (
    LIKELY,
    NEAREST,
    STRICT,
    TYPES,
    UNLIKELY,
    Builder,
    Made,
    bits_of,
    features,
    function,
    operand,
    rounded,
)


def power_of_two(exponent: int, width: int) -> int:
    """The bits of 2**exponent."""
    _, eb, fb = TYPES[width]
    return exponent + (1 << eb - 1) - 1 << fb


def to_integer(bits: int, signed: bool) -> Builder:
    """Conversions to an integer, rounding to nearest or toward zero, of what surely fits; the rest is softfloat's."""

    def build(width: int, symbol: str) -> Made:
        if "sse4.1" not in features():
            return None
        kind = TYPES[width][0]
        rint = f"@llvm.experimental.constrained.rint.f{width}"
        fptosi = f"@llvm.experimental.constrained.fptosi.i64.f{width}"
        top = min(bits - 1 if signed else bits, 63)      # |a| < 2**top fits when rounded toward zero
        scale = 65 - width if signed else 0              # shift the sign out, or let it make the number too large
        limits = [power_of_two(top - 1, width) << scale, power_of_two(top, width) << scale]
        extend = "  %w = trunc i64 %i to i32\n  %v = sext i32 %w to i64\n" if bits == 32 else "  %v = add i64 %i, 0\n"
        body = f"""{operand("a", width)}  %size = shl i64 %a, {scale}
  switch i32 %rm, label %soft [ i32 0, label %near i32 1, label %chop ]
near:
  %small = icmp ult i64 %size, {limits[0]}
  br i1 %small, label %round, label %soft, {LIKELY}
round:
  %whole = call {kind} {rint}({kind} %fa, {NEAREST}, {STRICT}) strictfp
  br label %convert
chop:
  %fits = icmp ult i64 %size, {limits[1]}
  br i1 %fits, label %convert, label %soft, {LIKELY}
convert:
  %r = phi {kind} [ %whole, %round ], [ %fa, %chop ]
  %i = call i64 {fptosi}({kind} %r, {STRICT}) strictfp
{extend}  ret i64 %v
"""
        return function(symbol, "a", body), [
            f"declare {kind} {rint}({kind}, metadata, metadata)", f"declare i64 {fptosi}({kind}, metadata)"]

    return lambda width: lambda symbol: build(width, symbol)


def from_integer(signed: bool) -> Builder:
    """Conversions of 64-bit integers. Unsigned ones of 2**63 and more are softfloat's."""

    def build(width: int, symbol: str) -> Made:
        if not features():
            return None
        kind = TYPES[width][0]
        name = f"@llvm.experimental.constrained.sitofp.f{width}.i64"
        guard = "" if signed else "  %positive = icmp sge i64 %a, 0\n  %go = and i1 %nearest, %positive\n"
        body = f"""  %nearest = icmp eq i32 %rm, 0
{guard}  br i1 %{"nearest" if signed else "go"}, label %fast, label %soft, {LIKELY}
fast:
  %r = call {kind} {name}(i64 %a, {NEAREST}, {STRICT}) strictfp
{bits_of("r", width)}  ret i64 %bits
"""
        return function(symbol, "a", body), [f"declare {kind} {name}(i64, metadata, metadata)"]

    return lambda width: lambda symbol: build(width, symbol)


def narrow(symbol: str) -> Made:
    """binary64 to binary32."""
    if not features():
        return None
    name = "@llvm.experimental.constrained.fptrunc.f32.f64"
    text = f"{operand('a', 64)}  %r = call float {name}(double %fa, {NEAREST}, {STRICT}) strictfp\n"
    return rounded(symbol, "a", 32, text, ""), [f"declare float {name}(double, metadata, metadata)"]


def widen(symbol: str) -> Made:
    """binary32 to binary64: exact, whatever the rounding mode."""
    if not features():
        return None
    name = "@llvm.experimental.constrained.fpext.f64.f32"
    body = f"""{operand("a", 32)}  %r = call double {name}(float %fa, {STRICT}) strictfp
{bits_of("r", 64)}  %nan = fcmp uno double %r, %r
  br i1 %nan, label %soft, label %done, {UNLIKELY}
done:
  ret i64 %bits
"""
    return function(symbol, "a", body), [f"declare double {name}(float, metadata)"]
