"""The arithmetic that F and D instructions call: the host's where that is exact, else softfloat. No instruction here.

A binary32 operand is its bits in the lower half of a u64, already out of its NaN-box. `rm` is a resolved rounding mode.
"""
from __future__ import annotations

from collections.abc import Callable

from popek.isa import fp_host as host
from popek.isa import fp_host_convert as conversions
from popek.isa import fp_host_flags as status
from popek.isa.hart import ILLEGAL_INSTRUCTION, Hart
from popek.isa.softfloat.add import add, sub
from popek.isa.softfloat.compare import (
    classify,
    eq,
    greatest,
    le,
    le_quiet,
    least,
    lt,
    lt_quiet,
    maximum,
    minimum,
)
from popek.isa.softfloat.convert import convert, from_integer, round_integral, to_integer, to_word_modulo
from popek.isa.softfloat.div import div, sqrt
from popek.isa.softfloat.mul import fma, mul
from popek.lang import Trap, fn, source_fn, u32, u64, unlikely

Operation = Callable[..., int]

#: Substitutes of functions below that raise Trap in all rare cases, for code that can execute an instruction in another
#: way then. Where the host's unit is not used they always raise.
TRY: dict[Operation, Operation] = {}

F32, F64 = (8, 23), (11, 52)       # exponent and fraction field widths
DYNAMIC = 7
BOX = 0xFFFFFFFF00000000
NAN_32 = 0x7FC00000
SIGN_32, SIGN_64 = 1 << 31, 1 << 63
BODY_32, BODY_64 = SIGN_32 - 1, SIGN_64 - 1      # everything but the sign


def _both(
    name: str,
    operation: Operation,
    names: str,
    build: host.Builder,
    *,
    rounds: bool = True,
    last: tuple[int, ...] = (),
    result: str = "u64",
) -> tuple[Operation, Operation]:
    """f32_<name> and f64_<name>: `operation` of operands with these names, for the two formats."""
    made = []
    for eb, fb in (F32, F64):
        full = f"f{eb + fb + 1}_{name}"
        parameters = ", ".join(["h: Hart", *(f"{n}: u64" for n in names), *(["rm: u32"] if rounds else [])])
        arguments = ", ".join(["h", *names, *(["rm"] if rounds else []), *map(str, (*last, eb, fb))])
        source = f"def {full}({parameters}) -> {result}:\n    return operation({arguments})\n"
        scope = {"__name__": __name__, "Hart": Hart, "u32": u32, "u64": u64, "operation": operation}
        lower = build(eb + fb + 1)
        made.append(source_fn(full, source, scope, native=lower))
        if result == "u64":
            _attempt(made[-1], full, parameters, lower)
    return made[0], made[1]


def _attempt(function: Operation, name: str, parameters: str, lower: Callable[[str], host.Made]) -> None:
    """Define the function's entry in TRY."""
    source = f"def try_{name}({parameters}) -> u64:\n    raise Trap(ILLEGAL_INSTRUCTION, 0)\n"
    scope = {"__name__": __name__, "Hart": Hart, "Trap": Trap, "u32": u32, "u64": u64,
             "ILLEGAL_INSTRUCTION": ILLEGAL_INSTRUCTION}  # fmt: skip
    TRY[function] = source_fn(f"try_{name}", source, scope, native=lambda symbol: host.attempt(lower(symbol)))


f32_add, f64_add = _both("add", add, "ab", host.arithmetic("fadd", "ab"))
f32_sub, f64_sub = _both("sub", sub, "ab", host.arithmetic("fsub", "ab"))
f32_mul, f64_mul = _both("mul", mul, "ab", host.arithmetic("fmul", "ab"))
f32_div, f64_div = _both("div", div, "ab", host.arithmetic("fdiv", "ab"))
f32_sqrt, f64_sqrt = _both("sqrt", sqrt, "a", host.arithmetic("sqrt", "a"))
f32_fma, f64_fma = _both("fma", fma, "abc", host.fused)
f32_eq, f64_eq = _both("eq", eq, "ab", host.compare("oeq", signaling=False), rounds=False, result="bool")
f32_lt, f64_lt = _both("lt", lt, "ab", host.compare("olt", signaling=True), rounds=False, result="bool")
f32_le, f64_le = _both("le", le, "ab", host.compare("ole", signaling=True), rounds=False, result="bool")
f32_min, f64_min = _both("min", least, "ab", host.extreme("slt"), rounds=False)
f32_max, f64_max = _both("max", greatest, "ab", host.extreme("sgt"), rounds=False)
f32_lt_quiet, f64_lt_quiet = _both(
    "lt_quiet", lt_quiet, "ab", host.compare("olt", signaling=False), rounds=False, result="bool")  # fmt: skip
f32_le_quiet, f64_le_quiet = _both(
    "le_quiet", le_quiet, "ab", host.compare("ole", signaling=False), rounds=False, result="bool")  # fmt: skip
f32_minimum, f64_minimum = _both("minimum", minimum, "ab", host.extreme("slt"), rounds=False)
f32_maximum, f64_maximum = _both("maximum", maximum, "ab", host.extreme("sgt"), rounds=False)
f32_round, f64_round = _both("round", round_integral, "a", host.integral("nearbyint"), last=(False,))
f32_round_inexact, f64_round_inexact = _both("round_inexact", round_integral, "a", host.integral("rint"), last=(True,))
f32_to_i32, f64_to_i32 = _both("to_i32", to_integer, "a", conversions.to_integer(32, signed=True), last=(32, True))
f32_to_u32, f64_to_u32 = _both("to_u32", to_integer, "a", conversions.to_integer(32, signed=False), last=(32, False))
f32_to_i64, f64_to_i64 = _both("to_i64", to_integer, "a", conversions.to_integer(64, signed=True), last=(64, True))
f32_to_u64, f64_to_u64 = _both("to_u64", to_integer, "a", conversions.to_integer(64, signed=False), last=(64, False))
f32_from_i64, f64_from_i64 = _both("from_i64", from_integer, "a", conversions.from_integer(signed=True), last=(True,))
f32_from_u64, f64_from_u64 = _both("from_u64", from_integer, "a", conversions.from_integer(signed=False), last=(False,))


@fn(native=conversions.narrow)
def f64_to_f32(h: Hart, a: u64, rm: u32) -> u64:
    """binary64 to binary32."""
    return convert(h, a, rm, 11, 52, 8, 23)


@fn(native=conversions.widen)
def f32_to_f64(h: Hart, a: u64, rm: u32) -> u64:
    """binary32 to binary64."""
    return convert(h, a, rm, 8, 23, 11, 52)


_attempt(f64_to_f32, "f64_to_f32", "h: Hart, a: u64, rm: u32", conversions.narrow)
_attempt(f32_to_f64, "f32_to_f64", "h: Hart, a: u64, rm: u32", conversions.widen)


@fn
def f64_to_word_modulo(h: Hart, a: u64) -> u64:
    """fcvtmod.w.d: seldom executed, and too long for a template."""
    return to_word_modulo(h, a, 11, 52)


_attempt(f64_to_word_modulo, "f64_to_word_modulo", "h: Hart, a: u64", lambda symbol: None)


@fn
def f32_classify(a: u64) -> u64:
    """fclass.s"""
    return classify(a, 8, 23)


@fn
def f64_classify(a: u64) -> u64:
    """fclass.d"""
    return classify(a, 11, 52)


@fn(inline=True)
def box(a: u64) -> u64:
    """A binary32 number as a 64-bit register holds it (Unprivileged ISA, "NaN Boxing of Narrower Values")."""
    return a | BOX


@fn(inline=True)
def unbox(h: Hart, a: u64) -> u64:
    """The binary32 operand in a register; what is not NaN-boxed is a quiet NaN, and arithmetic does not ask which."""
    if unlikely(a < BOX):
        a |= NAN_32  # no constant, which LLVM would put into a constant pool
    return a & 0xFFFFFFFF


@fn(inline=True)
def unbox_exact(a: u64) -> u64:
    """The binary32 number in a register; what is not NaN-boxed counts as the canonical NaN."""
    return NAN_32 if a < BOX else a & 0xFFFFFFFF


@fn(inline=True)
def rounding(h: Hart, rm: u32) -> u32:
    """The rounding mode an instruction asks for; a reserved one is an illegal instruction (chapter "F", "frm")."""
    mode = h.frm if rm == DYNAMIC else rm
    if unlikely(mode != 0):  # one test on the usual path, which the host's arithmetic asks again
        if mode > 4:
            raise Trap(ILLEGAL_INSTRUCTION, 0)
    return mode


@fn(inline=True)
def try_unbox(h: Hart, a: u64) -> u64:
    """unbox, of what is NaN-boxed."""
    if unlikely(a < BOX):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return a & 0xFFFFFFFF


@fn(inline=True)
def try_rounding(h: Hart, rm: u32) -> u32:
    """rounding, when frm is to nearest even."""
    if rm > 4:
        if rm != DYNAMIC or h.frm != 0:
            raise Trap(ILLEGAL_INSTRUCTION, 0)
        return 0
    return rm


TRY |= {unbox: try_unbox, rounding: try_rounding}


@fn(native=status.enter)
def host_flags_enter(h: Hart) -> None:
    """Before generated code of this hart runs: set the host's unit up, with no flag set."""


@fn(native=status.leave)
def host_flags_leave(h: Hart) -> None:
    """After it, and before anything else may use the host's unit: gather the accrued flags in h.fflags."""


@fn
def fflags_read(h: Hart) -> u32:
    """The accrued exception flags."""
    host_flags_leave(h)
    return h.fflags


@fn
def fflags_write(h: Hart, value: u32) -> None:
    """Set the accrued exception flags."""
    host_flags_leave(h)
    h.fflags = value & 31
