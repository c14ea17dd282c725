"""LLVM IR text of every template: glue, fixed templates, and one per operation and operand shape.

Lives here: what a template looks like to LLVM. Not here: what an instruction means (isa), how templates are compiled and
packed (library), how they are put together at run time (translate).

All templates share one prototype and the ``preserve_none`` convention, so that the hart, the retired-instruction count
and the pinned guest registers stay in host registers from one template to the next; a template ends in a
tail call to its successor. Operands are holes: addresses of external symbols whose value range LLVM is told
(``absolute_symbol``), so that they become immediates and displacements.
"""

from collections.abc import Iterator

from popek.engine.template.layout import (
    E_JUMPS,
    E_LINK,
    E_RESOLVE,
    E_SLOW,
    FIXED,
    HOLES,
    PINS,
)
from popek.isa.hart import Hart

_PINNED = range(1, len(PINS) + 1)
_NAMES = ["%h", "%count", *(f"%p{k}" for k in _PINNED)]
_TYPES = ["ptr", "i64", *("i64" for _ in PINS)]
PARAMETERS = ", ".join(f"{t} {n}" for t, n in zip(_TYPES, _NAMES, strict=True)) + ", i64 %scratch"
PROTOTYPE = ", ".join(_TYPES) + ", i64"

_RANGES = {
    "pc": None,
    "value": None,
    "imm": "!102",
    "count": "!102",
    "site": "!103",
    "link": "!103",
    "jump": "!103",
    "rd": "!101",
    "rs1": "!101",
    "rs2": "!101",
    "rs3": "!101",
    "shamt": "!104",
}
METADATA = """
attributes #100 = { nounwind optsize "frame-pointer"="none" }
!98 = !{!"branch_weights", i32 3, i32 1}
!99 = !{!"branch_weights", i32 1, i32 2000000}
!100 = !{!"branch_weights", i32 2000000, i32 1}
!101 = !{i64 0, i64 65536}
!102 = !{i64 -2147483648, i64 2147483648}
!103 = !{i64 0, i64 2147483648}
!104 = !{i64 0, i64 64}
"""


def hole(name: str) -> str:
    """A hole as an i64 constant."""
    return f"ptrtoint (ptr @hole_{name} to i64)"


def wide(name: str, register: str) -> str:
    """A 64-bit hole in a register, where LLVM cannot see that it is a symbol and believe that 32 bits are enough."""
    return f'  {register} = call i64 asm "", "=r,0"(i64 {hole(name)})\n'


def field(offset: int | str, register: str) -> str:
    return f"  {register} = getelementptr i8, ptr %h, i64 {offset}\n"


def tail(target: str, count: str = "%count", scratch: str = "poison", pins: dict[int, str] | None = None) -> str:
    """The closing tail call."""
    names = ["%h", count, *((pins or {}).get(k, f"%p{k}") for k in _PINNED)]
    arguments = ", ".join(f"{t} {n}" for t, n in zip(_TYPES, names, strict=True))
    return f"  musttail call preserve_nonecc void {target}({arguments}, i64 {scratch})\n  ret void\n"


def template(name: str, body: str) -> str:
    return f"define preserve_nonecc void @{name}({PARAMETERS}) #100 {{\n{body}}}\n"


def named(name: str, body: str) -> tuple[str, str]:
    """A template and its name."""
    return name, template(name, body)


def _engine(word: int) -> int:
    return Hart.offset("engine") + 8 * word


def _spill() -> str:
    text = "".join(
        field(Hart.offset("x") + 8 * r, f"%s{r}") + f"  store i64 %p{k}, ptr %s{r}\n" for k, r in enumerate(PINS, 1)
    )
    return text + field(Hart.offset("instret"), "%sc") + "  store i64 %count, ptr %sc\n"


def _reload(prefix: str = "%n") -> tuple[str, list[str]]:
    text, names = "", []
    for k, r in enumerate(PINS, 1):
        text += field(Hart.offset("x") + 8 * r, f"{prefix}a{k}") + f"  {prefix}p{k} = load i64, ptr {prefix}a{k}\n"
        names.append(f"{prefix}p{k}")
    text += field(Hart.offset("instret"), f"{prefix}ca") + f"  {prefix}c = load i64, ptr {prefix}ca\n"
    return text, [f"{prefix}c", *names]


def _arguments(names: list[str]) -> str:
    return ", ".join(f"{t} {n}" for t, n in zip(_TYPES, ["%h", *names], strict=True)) + ", i64 poison"


def _glue(name: str, word: int) -> str:
    """Spill, call the engine's helper whose address is in the hart, go on where it says."""
    reload, names = _reload()
    return template(
        name,
        _spill()
        + field(_engine(word), "%fa")
        + "  %f = load ptr, ptr %fa\n  %to = call ptr %f(ptr %h, i64 %scratch)\n"
        + reload
        + f"  musttail call preserve_nonecc void %to({_arguments(names)})\n  ret void\n",
    )


def poll() -> str:
    """Read the poll flag into %calm."""
    return field(Hart.offset("poll"), "%pa") + "  %poll = load i32, ptr %pa\n  %calm = icmp eq i32 %poll, 0\n"


def add_count() -> str:
    """The count after a control transfer, in %c1."""
    return f"  %c1 = add i64 %count, {hole('count')}\n"


def _through_cache(entry: str, pc: str, extra: str, flag: int) -> str:
    """Jump to guest address `pc` through jump-cache entry `entry`; miss: ask the engine (flag 1: at a poll point)."""
    return (
        f"  %known = load i64, ptr {entry}\n  %same = icmp eq i64 %known, {pc}\n{extra}"
        f"  br i1 {'%go' if extra else '%same'}, label %hit, label %miss, !prof !100\n"
        f"hit:\n  %qa = getelementptr i8, ptr {entry}, i64 16\n  %q = load i64, ptr %qa\n  %c2 = sub i64 %c1, %q\n"
        f"  %ka = getelementptr i8, ptr {entry}, i64 8\n  %code = load ptr, ptr %ka\n"
        + tail("%code", "%c2")
        + "miss:\n"
        + field(Hart.offset("pc"), "%pca")
        + f"  store i64 {pc}, ptr %pca\n"
        + tail("@hole_glue_resolve", "%c1", str(flag))
    )


def _far(name: str, back: bool) -> str:
    body = (
        field(_engine(E_JUMPS), "%ja")
        + "  %jt = load ptr, ptr %ja\n"
        + f"  %je = getelementptr i8, ptr %jt, i64 {hole('jump')}\n"
        + add_count()
        + wide("value", "%pc")
    )
    extra = poll() + "  %go = and i1 %same, %calm\n" if back else ""
    return template(name, body + _through_cache("%je", "%pc", extra, int(back)))


def _goto(name: str, back: bool) -> str:
    if not back:
        return template(name, add_count() + tail("@hole_taken", "%c1"))
    return template(
        name,
        poll()
        + "  br i1 %calm, label %go, label %stop, !prof !100\ngo:\n"
        + add_count()
        + tail("@hole_taken", "%c1")
        + "stop:\n"
        + tail("@hole_slow"),
    )


def floating_point_on() -> str:
    """Go on (label on) only if mstatus.FS is Dirty; else to label slow, where it traps or is marked dirty."""
    return (
        field(Hart.offset("mstatus") + 1, "%fsa") + "  %fs0 = load i8, ptr %fsa\n  %fs = and i8 %fs0, 96\n"
        "  %dirty = icmp eq i8 %fs, 96\n  br i1 %dirty, label %on, label %slow, !prof !100\non:\n"
    )


def operand(pin: int, name: str, value: str) -> str:
    """Read an integer operand: pinned register number `pin`, or memory (0) through hole `name`."""
    if pin:
        return f"  {value} = add i64 %p{pin}, 0\n"
    return field(hole(name), f"{value}a") + f"  {value} = load i64, ptr {value}a\n"


def result(pin: int, value: str) -> tuple[str, dict[int, str]]:
    """Write an integer result: text to add, and pins changed."""
    if pin:
        return "", {pin: value}
    return field(hole("rd"), "%da") + f"  store i64 {value}, ptr %da\n", {}


def _indirect(name: str, pin: int, link: bool) -> str:
    body = operand(pin, "rs1", "%rs1") + f"  %t0 = add i64 %rs1, {hole('imm')}\n  %t = and i64 %t0, -2\n"
    if link:
        body += wide("value", "%back") + result(0, "%back")[0]
    body += (
        field(_engine(E_JUMPS), "%ja")
        + "  %jt = load ptr, ptr %ja\n  %i0 = shl i64 %t, 4\n  %i1 = and i64 %i0, 32736\n"
        "  %je = getelementptr i8, ptr %jt, i64 %i1\n" + add_count()
    )
    return template(name, body + _through_cache("%je", "%t", poll() + "  %go = and i1 %same, %calm\n", 1))


def fixed() -> Iterator[tuple[str, str]]:
    """The fixed templates, then the small families indexed by pinned register (layout.FIXED and Library name them)."""
    reload, names = _reload()
    text = {
        "step": template("step", tail("@hole_glue_slow", scratch=hole("site"))),
        "link": template("link", tail("@hole_glue_link", scratch=hole("link"))),
        "leave": template("leave", _spill() + "  ret void\n"),
        "glue_slow": _glue("glue_slow", E_SLOW),
        "glue_link": _glue("glue_link", E_LINK),
        "glue_resolve": _glue("glue_resolve", E_RESOLVE),
        "enter": f"define void @enter(ptr %h, ptr %to) #100 {{\n{reload}  call preserve_nonecc void %to({_arguments(names)})\n  ret void\n}}\n",
        "goto": _goto("goto", False),
        "goto_back": _goto("goto_back", True),
        "far": _far("far", False),
        "far_back": _far("far_back", True),
        "jump": template("jump", tail("@hole_taken")),
    }
    yield from ((name, text[name]) for name in FIXED)
    for pin in range(len(PINS) + 1):
        store, pins = result(pin, "%v")
        yield named(f"li_{pin}", f"  %v = add i64 0, {hole('imm')}\n" + store + tail("@hole_next", pins=pins))
        yield named(f"li64_{pin}", wide("value", "%v") + store + tail("@hole_next", pins=pins))
        yield f"jump_register_{pin}", _indirect(f"jump_register_{pin}", pin, False)
        yield f"call_register_{pin}", _indirect(f"call_register_{pin}", pin, True)
        for source in range(len(PINS) + 1):
            yield named(f"mv_{pin}_{source}", operand(source, "rs1", "%v") + store + tail("@hole_next", pins=pins))
    for pin in _PINNED:
        yield named(f"spill_{pin}", result(0, f"%p{pin}")[0] + tail("@hole_next"))
        yield named(f"reload_{pin}", operand(0, "rs1", "%v") + tail("@hole_next", pins={pin: "%v"}))


def declarations() -> str:
    """Holes as external symbols."""
    text = ""
    for name in HOLES:
        if name in ("next", "taken", "slow", "glue_slow", "glue_link", "glue_resolve"):
            text += f"declare dso_local preserve_nonecc void @hole_{name}({PROTOTYPE})\n"
        elif name == "cell":
            text += "@hole_cell = external dso_local global [2 x i64]\n"
        else:
            kind = _RANGES.get(name)
            text += (
                f"@hole_{name} = external dso_local global i8"
                + (f", !absolute_symbol {kind}" if kind else ', code_model "large"')
                + "\n"
            )
    return text
