"""What instructions mean, as pieces of LLVM text that can be put into a function of any region.

Lives here: making them, once per installation, from the operations' definitions in isa: the meaning, with all it calls,
goes through LLVM's passes, and comes back as text whose names can be given a prefix. Needs isa, lang and llvmlite.
Not here: how they are put together (emit), what is known without LLVM (tables).

An operand stands in the text as `$name$`; local names and labels begin with `~`, in whose place goes the prefix. A
piece ends in lines of its own: `$result$ <value>`, and `$bail$` (give up before any effect, and execute the instruction
otherwise).
"""

from __future__ import annotations

import re
from typing import Any

from popek.engine.template import cells, rules
from popek.engine.template.compiler import host_machine, simplified
from popek.isa import a, fp, memory, reservation
from popek.isa.hart import Hart
from popek.isa.op import Op
from popek.isa.table import OPS
from popek.lang import fn, u64
from popek.lang.llvm import Program

PREFIX = "snippet."
DOUBLE, SINGLE, INTEGER = "double", "float", "i64"
BOX = 0xFFFFFFFF00000000


def _host(symbol: str) -> tuple[str, list[str]]:
    text = f"""declare i64 @snippet_host()
define internal i64 @"{symbol}"(ptr %h, i64 %addr, i64 %size) alwaysinline nounwind {{
  %host = call i64 @snippet_host()
  ret i64 %host
}}
"""
    return text, []


@fn(native=_host)
def checked_address(h: Hart, addr: u64, size: u64) -> u64:
    """Where an atomic access that has been checked leads: the piece's operand `host`."""
    return 0


@fn(inline=True)
def nobody_to_tell(h: Hart, host: u64) -> None:
    """After a store: a page that a view allows to write holds no code."""


SUBSTITUTES: dict[Any, Any] = {
    memory.atomic_address: checked_address,
    memory.reserve_address: checked_address,
    memory.host_written: nobody_to_tell,
    a.store_conditional_failed: cells.no_reservation,
    reservation.steady: cells.steady,
    **fp.TRY,
}


def formats(op: Op) -> tuple[str, str]:
    """LLVM types in which a piece takes its floating-point operands and gives its result. Raw bits count as double."""
    words = op.name.split("_")
    if words[0].startswith("fcvt"):
        result, source = words[1], words[2]
    elif words[0] == "fmv":
        result, source = ("s" if words[1] == "w" else "d"), "d"
    else:
        result = source = words[-1]
    types = {"s": SINGLE, "d": DOUBLE}
    return (types.get(result, INTEGER) if op.result == "frd" else INTEGER), types.get(source, DOUBLE)


def wanted(op: Op) -> bool:
    """Is there a piece for this operation? Loads, stores and jumps are lower's own affair."""
    if op.kind == "amo":
        return True
    return rules.has_template(op) and not rules.accesses_memory(op) and not op.name.startswith("cbo")


def wrapper(op: Op, raises: bool) -> str:
    """A function around the meaning of `op`: operands and result in the types of `formats`."""
    result, source = formats(op)
    parameters, text, arguments = ["ptr %h"], "", []
    for name in op.parameters:
        match name:
            case "h":
                arguments.append("ptr %h")
            case "rs1" | "rs2" | "imm":
                parameters.append(f"i64 %{name}")
                arguments.append(f"i64 %{name}")
            case "frs1" | "frs2" | "frs3":
                parameters.append(f"{source} %{name}")
                if source == SINGLE:
                    text += f"  %w.{name} = bitcast float %{name} to i32\n  %z.{name} = zext i32 %w.{name} to i64\n"
                    text += f"  %b.{name} = or i64 %z.{name}, {BOX}\n"
                else:
                    text += f"  %b.{name} = bitcast double %{name} to i64\n"
                arguments.append(f"i64 %b.{name}")
            case "rm":
                arguments.append("i32 0")
    call = f'@"{rules.meaning(op).symbol}"({", ".join(arguments)})'
    plain = "i1" if op.kind == "branch" else "i64" if op.result else "void"
    if raises and plain != "void":
        text += f"  %both = call {{{plain}, i1}} {call}\n  %r = extractvalue {{{plain}, i1}} %both, 0\n"
        text += f"  %bail = extractvalue {{{plain}, i1}} %both, 1\n"
    elif raises:
        text += f"  %bail = call i1 {call}\n"
    else:
        text += f"  {'' if plain == 'void' else '%r = '}call {plain} {call}\n"
    if raises:
        text += "  br i1 %bail, label %slow, label %fast\nslow:\n  call void @snippet_bail()\n  unreachable\nfast:\n"
    if result == SINGLE:
        text += "  %narrow = trunc i64 %r to i32\n  %v = bitcast i32 %narrow to float\n"
    elif result == DOUBLE:
        text += "  %v = bitcast i64 %r to double\n"
    kind = plain if plain in ("i1", "void") else result
    value = "" if plain == "void" else f"{kind} {'%v' if result != INTEGER else '%r'}"
    name = f"snippet_result_{kind}"
    return (
        f'define void @"{PREFIX}{op.name}"({", ".join(parameters)}) nounwind strictfp {{\n{text}'
        f"  call void @{name}({value})\n  unreachable\n}}\n"
    )


DECLARATIONS = """
declare void @snippet_bail() noreturn nounwind
declare void @snippet_result_void() noreturn nounwind
declare void @snippet_result_i1(i1) noreturn nounwind
declare void @snippet_result_i64(i64) noreturn nounwind
declare void @snippet_result_float(float) noreturn nounwind
declare void @snippet_result_double(double) noreturn nounwind
"""


def source() -> str:
    """The text of all wrappers and what they call."""
    ops = [op for op in OPS if wanted(op)]
    program = Program([op.fn for op in ops], substitute=SUBSTITUTES, bare_traps=True)
    text = program.text().replace(" #0 {", " alwaysinline nounwind {")
    return text + DECLARATIONS + "".join(wrapper(op, program.raising(rules.meaning(op))) for op in ops)


_NAME = re.escape(PREFIX) + r"(\w+)"
_FUNCTION = re.compile(r'^define void @"?' + _NAME + r'"?\(([^)]*)\)[^{]*\{\n(.*?)^\}', re.M | re.S)
_NOISE = re.compile(r", !prof ![0-9]+|, !range ![0-9]+|, !nosanitize ![0-9]+|\s*;.*$| #[0-9]+(?=$| )")
_LOCAL = re.compile(r"%([\w.$-]+)")
_LABEL = re.compile(r"^([\w.$-]+):")
_CALLED = re.compile(r"@([\w.\"-]+)\(")


class SnippetError(Exception):
    """LLVM made something of a meaning that cannot be put into a region."""


def _parameters(text: str) -> set[str]:
    return {found[1] for found in re.finditer(r"%([\w.]+)", text)}


def piece(parameters: set[str], body: str) -> list[str]:
    """The lines of one piece. Raises SnippetError if something in it stands for nothing."""
    lines: list[str] = []

    def local(found: re.Match[str]) -> str:
        return f"${found[1]}$" if found[1] in parameters else f"%~{found[1]}"

    for raw in body.splitlines():
        line = _NOISE.sub("", raw.rstrip())
        if not line.strip() or line.strip() == "unreachable":
            continue
        label = _LABEL.match(line)
        if label:
            lines.append(f"~{label[1]}:")
            continue
        line = _LOCAL.sub(local, line)
        if "@snippet_host()" in line:
            line = line.split("=")[0] + "= add i64 $host$, 0"
        elif "@snippet_bail()" in line:
            line = "$bail$"
        elif found := re.search(r"@snippet_result_(\w+)\((.*)\)", line):
            value = found[2].replace("noundef ", "").split()
            line = "$result$ " + (value[-1] if value else "")
        elif "@" in line and (called := _CALLED.search(line)):
            if not called[1].startswith("llvm."):
                raise SnippetError(f"calls {called[1]}")
            line = line.replace("tail call", "call")
            if "llvm.experimental" in line:
                line += " strictfp"
        elif "@" in line:
            raise SnippetError(f"refers to a global: {line.strip()}")
        lines.append(line)
    return lines


def build() -> tuple[dict[str, list[str]], list[str]]:
    """Pieces by the operation's name, and the declarations of LLVM's intrinsics that they call."""
    text = str(simplified(source(), host_machine(opt=2, reloc="static")))
    pieces = {}
    for found in _FUNCTION.finditer(text):
        try:
            made = piece(_parameters(found[2]), found[3])
        except SnippetError:
            continue  # the long way, then
        if any(line.startswith("$result$") for line in made):  # softfloat's part always bails: fcvtmod.w.d
            pieces[found[1]] = made
    declared = [_NOISE.sub("", line) for line in text.splitlines() if line.startswith("declare") and "@llvm." in line]
    return pieces, declared
