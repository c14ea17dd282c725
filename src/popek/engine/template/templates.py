"""LLVM IR text of templates: the glue, the fixed templates, the small families, and the pieces that rules builds on.

Lives here: what a template looks like to LLVM. Not here: what an instruction means (isa), the text around its meaning
(rules), how templates are compiled and packed (library), how they are put together at run time (emit).

All templates share one prototype and the ``preserve_none`` convention, so that the hart, the retired-instruction count
and the pinned guest registers stay in host registers from one template to the next; a template ends in a
tail call to its successor. Operands are holes: addresses of external symbols whose value range LLVM is told
(``absolute_symbol``), so that they become immediates and displacements.
"""

from collections.abc import Iterator

from popek.engine.optimizing.state import FROM_SITE, SITE_SHIFT
from popek.engine.template.layout import (
    AGAIN,
    DONE,
    E_JUMPS,
    E_LINK,
    E_RESOLVE,
    E_SLOW,
    E_VECTOR,
    HOLES,
    JUMP_ENTRIES,
    PINNED,
    PINS,
    Jump,
)
from popek.isa.hart import Hart

_PINNED = range(1, PINNED + 1)
_NAMES = ["%h", "%count", *(f"%p{k}" for k in _PINNED)]
_TYPES = ["ptr", "i64", *("i64" for _ in PINS)]
PARAMETERS = ", ".join(f"{t} {n}" for t, n in zip(_TYPES, _NAMES, strict=True)) + ", i64 %scratch"
PROTOTYPE = ", ".join(_TYPES) + ", i64"

_RANGES = {
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
; how likely a condition is: rather, hardly ever, nearly always
!98 = !{!"branch_weights", i32 3, i32 1}
!99 = !{!"branch_weights", i32 1, i32 2000000}
!100 = !{!"branch_weights", i32 2000000, i32 1}
; ranges of holes: offsets in the hart, signed and unsigned 32-bit numbers, shift amounts
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
    """The address of a field of the hart, in a register."""
    return f"  {register} = getelementptr i8, ptr %h, i64 {offset}\n"


def tail(target: str, count: str = "%count", scratch: str = "poison", pins: dict[int, str] | None = None) -> str:
    """The closing tail call; `pins`: registers that hold new values of pinned ones."""
    names = ["%h", count, *((pins or {}).get(k, f"%p{k}") for k in _PINNED)]
    return f"""  musttail call preserve_nonecc void {target}({_arguments(names, scratch)})
  ret void
"""


def template(name: str, body: str) -> str:
    """The function around a template's text."""
    return f"define preserve_nonecc void @{name}({PARAMETERS}) #100 {{\n{body}}}\n"


def named(name: str, body: str) -> tuple[str, str]:
    """A template and its name."""
    return name, template(name, body)


def _arguments(names: list[str], scratch: str = "poison") -> str:
    return ", ".join(f"{t} {n}" for t, n in zip(_TYPES, names, strict=True)) + f", i64 {scratch}"


def engine(word: int) -> int:
    """Offset in the hart of a word of Hart.engine."""
    return Hart.offset("engine") + 8 * word


def _spill() -> str:
    text = ""
    for k, r in enumerate(PINS, 1):
        text += f"""{field(Hart.offset("x") + 8 * r, f"%s{r}")}
  store i64 %p{k}, ptr %s{r}
"""
    return f"""{text}
{field(Hart.offset("instret"), "%sc")}
  store i64 %count, ptr %sc
"""


def _reload() -> tuple[str, list[str]]:
    """Text that reads what _spill wrote, and the arguments that then stand for hart, count and pinned registers."""
    text, names = "", ["%h", "%nc"]
    for k, r in enumerate(PINS, 1):
        text += f"""{field(Hart.offset("x") + 8 * r, f"%na{k}")}
  %np{k} = load i64, ptr %na{k}
"""
        names.append(f"%np{k}")
    text += f"""{field(Hart.offset("instret"), "%nca")}
  %nc = load i64, ptr %nca
"""
    return text, names


def glue(name: str, word: int) -> str:
    """Spill, call the engine's helper whose address is in the hart, go on where it says."""
    reload, names = _reload()
    body = f"""{_spill()}{field(engine(word), "%fa")}
  %f = load ptr, ptr %fa
  %to = call ptr %f(ptr %h, i64 %scratch)
{reload}
  musttail call preserve_nonecc void %to({_arguments(names)})
  ret void
"""
    return template(name, body)


def _enter() -> str:
    """An ordinary function that goes into generated code, and returns when that leaves."""
    reload, names = _reload()
    return f"""define void @enter(ptr %h, ptr %to) #100 {{
{reload}
  call preserve_nonecc void %to({_arguments(names)})
  ret void
}}
"""


def poll() -> str:
    """Is there no reason to leave generated code? In %calm."""
    return f"""{field(Hart.offset("poll"), "%pa")}
  %poll = load i32, ptr %pa
  %calm = icmp eq i32 %poll, 0
"""


def add_count() -> str:
    """The count after a control transfer, in %c1."""
    return f"  %c1 = add i64 %count, {hole('count')}\n"


def jump_table() -> str:
    """The present jump table, in %jt."""
    return f"""{field(engine(E_JUMPS), "%ja")}
  %jt = load ptr, ptr %ja
"""


def through_cache(pc: str, polls: bool, where: int = 0, site: bool = False) -> str:
    """Jump to guest address `pc` through entry %je of the jump table; if that does not know it, ask the engine.

    `polls`: at a poll point, so ask the engine also if there is something to do, and tell it `where` that was, with the
    `site` of the jump.
    """
    told = str(1 | where if polls else 0)
    from_site = ""
    if site:
        from_site = f"  %s0 = shl i64 {hole('site')}, {SITE_SHIFT}\n  %s1 = or i64 %s0, {1 | where | FROM_SITE}"
        told = "%s1"
    also = f"""{poll()}
  %go = and i1 %same, %calm
"""
    return f"""
  %known = load i64, ptr %je
  %same = icmp eq i64 %known, {pc}
{also if polls else ""}
  br i1 {"%go" if polls else "%same"}, label %hit, label %miss, !prof !100
hit:
  %qa = getelementptr i8, ptr %je, i64 {Jump.offset("seq")}
  %q = load i64, ptr %qa
  %c2 = sub i64 %c1, %q
  %ka = getelementptr i8, ptr %je, i64 {Jump.offset("code")}
  %code = load ptr, ptr %ka
{tail("%code", "%c2")}
miss:
{field(Hart.offset("pc"), "%pca")}
  store i64 {pc}, ptr %pca
{from_site}
{tail("@hole_glue_resolve", "%c1", told)}
"""


def _far(name: str, back: bool) -> str:
    """A direct jump to another page."""
    body = f"""{jump_table()}
  %je = getelementptr i8, ptr %jt, i64 {hole("jump")}
{add_count()}{wide("value", "%pc")}
"""
    return template(name, body + through_cache("%pc", back))


def _indirect(name: str, pin: int, link: bool) -> str:
    """An indirect jump; `link`: rd, in memory, gets the address behind it."""
    shift = Jump.size.bit_length() - 2  # an instruction begins at every second byte
    body = f"""{operand(pin, "rs1", "%rs1")}
  %t0 = add i64 %rs1, {hole("imm")}
  %t = and i64 %t0, -2
"""
    if link:
        body += wide("value", "%back") + result(0, "%back")[0]
    body += f"""{jump_table()}
  %i0 = shl i64 %t, {shift}
  %i1 = and i64 %i0, {(JUMP_ENTRIES - 1) * Jump.size}
  %je = getelementptr i8, ptr %jt, i64 %i1
{add_count()}
"""
    return template(name, body + through_cache("%t", True, site=True))


def _goto(name: str, back: bool) -> str:
    """A direct jump inside the page."""
    go = add_count() + tail("@hole_taken", "%c1")
    if not back:
        return template(name, go)
    body = f"""{poll()}
  br i1 %calm, label %go, label %stop, !prof !100
go:
{go}
stop:
{tail("@hole_slow")}
"""
    return template(name, body)


def _vector() -> str:
    """A vector instruction whose x registers are in memory; run.vector_step says how it went.

    pc and instret are exact meanwhile: an access may come to a device.
    """
    body = f"""{wide("value", "%pc")}{field(Hart.offset("pc"), "%pca")}
  store i64 %pc, ptr %pca
  %exact = add i64 %count, {hole("count")}
{field(Hart.offset("instret"), "%sc")}
  store i64 %exact, ptr %sc
{field(engine(E_VECTOR), "%fa")}
  %f = load ptr, ptr %fa
  %r = call i64 %f(ptr %h, i64 {hole("imm")})
  %done = icmp eq i64 %r, {DONE}
  br i1 %done, label %on, label %off, !prof !100
on:
{tail("@hole_next")}
off:
  %again = icmp eq i64 %r, {AGAIN}
  br i1 %again, label %slow, label %leave
slow:
{tail("@hole_slow")}
leave:
  %after = add i64 %pc, 4
  store i64 %after, ptr %pca
  %c1 = add i64 %exact, 1
{tail("@hole_glue_resolve", "%c1", "0")}
"""
    return template("vector", body)


def floating_point_on() -> str:
    """Go on (label on) only if mstatus.FS is Dirty; else to label slow, where it traps or is marked dirty."""
    return f"""{field(Hart.offset("mstatus") + 1, "%fsa")}
  %fs0 = load i8, ptr %fsa
  %fs = and i8 %fs0, 96
  %dirty = icmp eq i8 %fs, 96
  br i1 %dirty, label %on, label %slow, !prof !100
on:
"""


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


def fixed() -> Iterator[tuple[str, str]]:
    """The fixed templates (layout.FIXED; those of regions are in ways), then the small families by pinned register."""
    text = {
        "step": template("step", tail("@hole_glue_slow", scratch=hole("site"))),
        "link": template("link", tail("@hole_glue_link", scratch=hole("link"))),
        "leave": template("leave", _spill() + "  ret void\n"),
        "glue_slow": glue("glue_slow", E_SLOW),
        "glue_link": glue("glue_link", E_LINK),
        "glue_resolve": glue("glue_resolve", E_RESOLVE),
        "enter": _enter(),
        "goto": _goto("goto", False),
        "goto_back": _goto("goto_back", True),
        "far": _far("far", False),
        "far_back": _far("far_back", True),
        "jump": template("jump", tail("@hole_taken")),
        "vector": _vector(),
    }
    yield from text.items()
    for pin in range(PINNED + 1):
        store, pins = result(pin, "%v")
        yield named(f"li_{pin}", f"  %v = add i64 0, {hole('imm')}\n" + store + tail("@hole_next", pins=pins))
        yield named(f"li64_{pin}", wide("value", "%v") + store + tail("@hole_next", pins=pins))
        yield f"jump_register_{pin}", _indirect(f"jump_register_{pin}", pin, False)
        yield f"call_register_{pin}", _indirect(f"call_register_{pin}", pin, True)
        for source in range(PINNED + 1):
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
            kind = _RANGES[name]
            known = f"!absolute_symbol {kind}" if kind else 'code_model "large"'
            text += f"@hole_{name} = external dso_local global i8, {known}\n"
    return text
