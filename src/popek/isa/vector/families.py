"""From the meaning for one element to instructions: encodings, assembly text, what surrounds the loop. No meaning here.

    @elementwise("i", "000000", "vxi")
    @generic
    def vadd(a: U, b: U) -> U:
        return a + b

declares vadd.vv, vadd.vx and vadd.vi (Unprivileged ISA, "V", "Vector Arithmetic Instruction Formats").
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from popek.isa.encoding import parse
from popek.isa.fp import unbox_exact
from popek.isa.hart import FS, ILLEGAL_INSTRUCTION, Hart
from popek.isa.op import Op
from popek.isa.vector import groups, masking
from popek.isa.vector.generic import WIDTHS, Generic
from popek.isa.vector.kernels import kernel, sew
from popek.lang import Trap, fn, i64, source_fn, u32, u64, unlikely

#: funct3, by the table of formats and where the second operand comes from.
FUNCT3 = {"iv": "000", "fv": "001", "mv": "010", "ii": "011", "iu": "011", "ix": "100", "ff": "101", "mx": "110"}
#: The second operand in the encoding and in assembly text.
FIELD = {"v": "vs1", "x": "rs1", "f": "frs1", "i": "imm", "u": "uimm"}
PICTURE = {**FIELD, "i": "imm[4:0]", "u": "uimm[4:0]"}


@fn(inline=True)
def floats(h: Hart) -> u32:
    """FP works, and rounds how? All FP instructions ask for a valid frm ("Vector Floating-Point Instructions")."""
    if unlikely(h.mstatus & FS == 0 or h.frm > 4):
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return h.frm


@fn(inline=True)
def float_state_written(h: Hart) -> None:
    """Flags, or a register, may have changed (Privileged ISA, "Extension Context Status")."""
    h.mstatus |= FS


@fn
def float_size(h: Hart) -> u32:
    """The size of elements that must be FP numbers."""
    size = sew(h)
    if size < 2 or size > 3:
        raise Trap(ILLEGAL_INSTRUCTION, 0)
    return size


@fn(inline=True)
def scalar_float(frs1: u64, size: u32) -> u64:
    """A scalar FP operand: what is not NaN-boxed for the element width is the canonical NaN."""
    return unbox_exact(frs1) if size == 2 else frs1


SCOPE: dict[str, Any] = {
    "Hart": Hart, "u32": u32, "u64": u64, "i64": i64, "Trap": Trap, "ILLEGAL_INSTRUCTION": ILLEGAL_INSTRUCTION,
    **{f.__name__: f for f in (
        sew, floats, float_state_written, scalar_float, groups.lmul, groups.register, groups.destination, groups.apart,
        groups.narrower, groups.wider, masking.begin, masking.carries, masking.splat, masking.keep,
        masking.keep_bits)}}  # fmt: skip


class Shape(NamedTuple):
    """What the operands are: how many times as wide as SEW vs2 (a) and vd (d) are; d = 0 for mask bits."""

    a: int = 1
    d: int = 1
    b: int = 1
    suffix: str = "v"          # before the letter of the second operand
    widths: Sequence[int] = WIDTHS
    floats: Sequence[int] = (32, 64)
    swapped: bool = False      # assembly text names vs1 first
    vm: str = "vm"             # the vm bit: a field, or fixed


SINGLE = Shape()
WIDENING = Shape(d=2, widths=WIDTHS[:3], floats=(32,))
WIDE = Shape(a=2, d=2, suffix="w", widths=WIDTHS[:3], floats=(32,))
NARROWING = Shape(a=2, suffix="w", widths=WIDTHS[:3], floats=(32,))
TRUTH = Shape(d=0)

#: The instructions declared, by module.
OPS: dict[str, list[Op]] = {}
_loops: dict[Generic, Any] = {}


def declare(module: str, name: str, picture: str, assembly: str, source: str, scope: dict[str, Any]) -> Op:
    """One instruction: `source` is a function called `name`."""
    head = source[source.index("(") + 1 : source.index(")")]
    parameters = tuple(part.split(":")[0].strip() for part in head.split(","))
    function = source_fn(name, source, {**SCOPE, "__name__": module, **scope})
    made = Op(name, assembly, parse(picture), "vector", function, parameters, module)
    OPS.setdefault(module, []).append(made)
    return made


def instruction(picture: str, assembly: str) -> Callable[[Any], Op]:
    """Declare one instruction that is no family's, as isa.op does."""

    def make(function: Any) -> Op:
        parameters = function.__code__.co_varnames[: function.__code__.co_argcount]
        made = Op(function.__name__, assembly, parse(picture), "vector", fn(function), parameters, function.__module__)
        OPS.setdefault(function.__module__, []).append(made)
        return made

    return make


def operations(module: str) -> tuple[Op, ...]:
    """The instructions that a module has declared."""
    return tuple(OPS[module])


def relative(log: int) -> str:
    """The logarithm of EMUL of operands that are so many times as wide as SEW."""
    return {1: "log", 2: "log + 1"}[log]


def second(form: str) -> tuple[str, list[str]]:
    """The parameter that brings the second operand, and the lines that make `b` of it."""
    match form:
        case "v":
            return "vs1: u32", ["b = register(h, vs1, log)"]
        case "x":
            return "rs1: u64", ["b = splat(h, rs1, size)"]
        case "f":
            return "frs1: u64", ["b = splat(h, scalar_float(frs1, size), size)"]
    return "imm: u64", ["b = splat(h, imm, size)"]


def written(kind: str) -> list[str]:
    """What remains to be said when an instruction has not raised."""
    return ["float_state_written(h)"] if kind == "f" else []


def checks(shape: Shape, form: str) -> list[str]:
    """The rules on overlapping groups."""
    lines = []
    if shape.d == 0:
        lines = ["narrower(h, vd, i64(0), vs2, log)", *(["narrower(h, vd, i64(0), vs1, log)"] if form == "v" else [])]
    elif shape.d > shape.a:
        lines = ["wider(h, vd, log + 1, vs2, log)"]
    elif shape.d < shape.a:
        lines = ["narrower(h, vd, log, vs2, log + 1)"]
    if shape.d > shape.b and form == "v":
        lines.append("wider(h, vd, log + 1, vs1, log)")
    return lines


def loops_of(element: Generic, kind: str, shape: Shape, arithmetic: str = "") -> Any:
    """The loops of a generic function, made once."""
    if element not in _loops:
        widths = shape.floats if kind == "f" else shape.widths
        _loops[element] = kernel(element, widths, {"a": shape.a, "b": shape.b, "c": shape.d}, shape.d, arithmetic)
    return _loops[element]


def elementwise(
    kind: str, funct6: str, forms: str, shape: Shape = SINGLE, host: str = ""
) -> Callable[[Any], Any]:
    """Declare the instructions of a generic function; `forms` are the second operands: v, x, f, i or u, or several.

    `host`: the same as LLVM's arithmetic on a, b and c, see host.loop.
    """

    def make(element: Generic) -> Generic:
        loops_of(element, kind, shape, host)
        for form in forms:
            binary(element, kind, funct6, form, shape)
        return element

    return make


def binary(element: Generic, kind: str, funct6: str, form: str, shape: Shape) -> None:
    """One of a family's instructions."""
    suffix = shape.suffix + ("i" if form == "u" else form)
    carry = "k" in element.parameters
    masked = "m" if carry and shape.vm != "1" else ""
    mnemonic = f"{element.__name__.rstrip('_')}.{suffix}{masked}"
    name = mnemonic.replace(".", "_") + ("_" if element.__name__.endswith("_") else "")
    picture = f"{funct6} {shape.vm} vs2 {PICTURE[form]} {FUNCT3[kind + form]} vd 1010111"
    names = [FIELD[form], "vs2"] if shape.swapped else ["vs2", FIELD[form]]
    last = ["vm"] if shape.vm == "vm" else ["v0"] if masked else []
    parameter, lines = second(form)
    needs = element.parameters
    vm = "vm" if shape.vm == "vm" else "u32(1)"
    kept = f"keep(h, d, {vm}, size{' + 1' if shape.d == 2 else ''})" if shape.d else f"keep_bits(h, d, {vm})"
    place = f"destination(h, vd, {'u32(0)' if shape.vm == '0' else vm}, {relative(shape.d)})" if shape.d else \
        "register(h, vd, i64(0))"
    body = [
        "rm = floats(h)" if kind == "f" else "rm = u32(0)", "log = lmul(h)", "size = sew(h)", f"d = {place}",
        f"a = register(h, vs2, {relative(shape.a)})", *lines, *checks(shape, form),
        f"m = begin(h, {vm})" if "h" in needs else "m = u64(0)",
        f"k = carries(h, u32({shape.vm}))" if carry else "k = u64(0)",
        "loops(h, m, a, b, d, k, rm)", *written(kind), kept]  # fmt: skip
    head = f"def {name}(h: Hart, vd: u32, vs2: u32, {parameter}{', vm: u32' if shape.vm == 'vm' else ''}) -> None:"
    source = "\n    ".join([head, *body]) + "\n"
    declare(element.python.__module__, name, picture, f"{mnemonic} {', '.join(['vd', *names, *last])}", source,
            {"loops": loops_of(element, kind, shape)})


def unary(
    kind: str, funct6: str, code: str, mnemonic: str, shape: Shape = SINGLE, host: str = ""
) -> Callable[[Any], Any]:
    """Declare the instruction of a generic function of vs2 alone; `code` stands in the place of vs1."""

    def make(element: Generic) -> Generic:
        loops_of(element, kind, shape, host)
        needs, name = element.parameters, mnemonic.replace(".", "_")
        body = [
            f"rm = {'floats(h)' if kind == 'f' else 'u32(0)'}", "log = lmul(h)", "size = sew(h)",
            f"d = destination(h, vd, vm, {relative(shape.d)})", f"a = register(h, vs2, {relative(shape.a)})",
            *checks(shape, ""), f"m = {'begin(h, vm)' if 'h' in needs else 'u64(0)'}",
            "loops(h, m, a, a, d, a, rm)", *written(kind),
            f"keep(h, d, vm, size{' + 1' if shape.d == 2 else ''})"]  # fmt: skip
        source = "\n    ".join([f"def {name}(h: Hart, vd: u32, vs2: u32, vm: u32) -> None:", *body]) + "\n"
        declare(element.python.__module__, name, f"{funct6} vm vs2 {code} {FUNCT3[kind + 'v']} vd 1010111",
                f"{mnemonic} vd, vs2, vm", source, {"loops": loops_of(element, kind, shape)})
        return element

    return make
