"""From the operations of isa/table to templates and translation rules.

Lives here: which operand shapes an operation gets a template for (a question of speed only), and the text around the
call of its meaning. What has no template is executed by isa.table.execute on the slow path: nothing is missing here,
it is only slower.
"""

from dataclasses import dataclass, field
from itertools import product

from popek.engine.template import templates, ways
from popek.engine.template.layout import PINNED, Flag, Kind
from popek.isa.op import Op
from popek.lang.functions import Function

# Operations that programs execute most: these know pinned registers; the others work on memory, around spills.
FREQUENT = frozenset(
    "add sub and_ or_ xor addw addi addiw andi ori xori slli srli srai slliw sltiu mul "
    "beq bne blt bge bltu bgeu lb lh lw ld lbu lhu lwu sb sh sw sd flw fld fsw fsd".split()
)
# Of those, the ones whose way through the TLB knows pinned registers, too.
FREQUENT_ACCESSES = {"ld", "lw", "lbu", "sd", "sw", "sb"}
COMMUTATIVE = {"add", "and_", "or_", "xor", "addw", "mul", "mulw", "beq", "bne"}
NO_ACCESS = {"cbo_inval", "cbo_clean", "cbo_flush"}  # walk, but touch nothing
NO_HOLES = {"pc", "next_pc"}  # parameters that nothing fills in
FROM_CONSTANTS = {"lui", "auipc"}  # translate.special

OPERAND_FLAGS = {"rs1": Flag.RS1, "rs2": Flag.RS2, "frs1": Flag.FRS1, "frs2": Flag.FRS2}
RESULT_FLAGS = {"rd": Flag.RD, "frd": Flag.FRD, "": 0}
TABLE_PREFIX = "table."  # of the symbols of meanings whose accesses look into the TLB
DYNAMIC = 7  # rm: the rounding mode in frm
RULES = {
    "csr": Kind.STEP,
    "hint": Kind.STEP,
    "system": Kind.STEP_END,
    "illegal": Kind.STEP_END,
    "jump": Kind.JUMP,
    "jump_register": Kind.JUMP_REGISTER,
    "vector": Kind.VECTOR,
}


@dataclass
class Plan:
    """Everything to compile: template texts by name; and for each operation its kind, pins, flags, the names of its
    shapes, and those of its shapes that look into the TLB."""

    texts: dict[str, str] = field(default_factory=dict)
    rules: list[tuple[int, int, int, list[str], list[str]]] = field(default_factory=list)


def has_template(op: Op) -> bool:
    """Is there a template that stands for the meaning of `op`, rather than the slow path?"""
    if op.name in FROM_CONSTANTS | NO_ACCESS or not NO_HOLES.isdisjoint(op.parameters):
        return False
    return op.kind in ("load", "store", "amo", "fp", "branch") or (
        op.kind in ("alu", "hint") and "h" not in op.parameters
    )


def accesses_memory(op: Op) -> bool:
    """Does the template of `op` have a cell?"""
    return op.kind in ("load", "store", "amo") or op.name in ("flw", "fld", "fsw", "fsd")


def pins_for(op: Op) -> int:
    """How many pinned registers the templates of `op` know."""
    return PINNED if op.name in FREQUENT else 0


def flags_of(op: Op) -> int:
    """Operand and result flags of a rule."""
    flags = RESULT_FLAGS[op.result]
    for name in op.parameters:
        flags |= OPERAND_FLAGS.get(name, 0)
    if op.kind == "alu" and "h" not in op.parameters:
        flags |= Flag.PURE
    if op.name in COMMUTATIVE:
        flags |= Flag.COMMUTES
    if "rm" in op.parameters:
        flags |= Flag.RM
    if accesses_memory(op):
        flags |= Flag.MEMORY
    if op.name in FREQUENT_ACCESSES:
        flags |= Flag.TABLE_PINS
    return flags


def shapes(op: Op, pins: int) -> list[tuple[int, int, int]]:
    """The operand shapes (rd, rs1, rs2), in the order in which the translator numbers them: 0 memory, k pinned k."""
    used = (op.result == "rd", "rs1" in op.parameters, "rs2" in op.parameters)
    rd, rs1, rs2 = (range(pins + 1) if u else range(1) for u in used)
    return list(product(rd, rs1, rs2))


def meaning(op: Op) -> Function:
    """The subset function that says what `op` does."""
    assert isinstance(op.fn, Function)
    return op.fn


def meaning_call(op: Op, pin: tuple[int, int, int], rm: int = 0, prefix: str = "") -> tuple[str, str]:
    """Text that reads the operands, and the call of the meaning, or of what goes by the same name behind `prefix`."""
    text, arguments = "", []
    for name in op.parameters:
        match name:
            case "h":
                arguments.append("ptr %h")
            case "rs1" | "rs2":
                text += templates.operand(pin[1 if name == "rs1" else 2], name, f"%{name}")
                arguments.append(f"i64 %{name}")
            case "frs1" | "frs2" | "frs3":
                text += templates.operand(0, name[1:], f"%{name}")
                arguments.append(f"i64 %{name}")
            case "imm":
                arguments.append(f"i64 {templates.hole('shamt' if 'shamt' in op.operands else 'imm')}")
            case "rm":
                arguments.append(f"i32 {rm}")
    return text, f'@"{prefix}{meaning(op).symbol}"({", ".join(arguments)})'


def plain(op: Op, name: str, pin: tuple[int, int, int], raises: bool, rm: int = 0, prefix: str = "") -> str:
    """A template of an operation that goes on to the next instruction.

    If its meaning raises, it bails out before any effect, and the slow path begins anew.
    """
    text, call = meaning_call(op, pin, rm, prefix)
    result = bool(op.result)
    if op.kind == "fp":
        text = templates.floating_point_on() + text
    if raises and result:
        text += f"""  %both = call {{i64, i1}} {call}
  %r = extractvalue {{i64, i1}} %both, 0
  %bail = extractvalue {{i64, i1}} %both, 1
"""
    elif raises:
        text += f"  %bail = call i1 {call}\n"
    elif result:
        text += f"  %r = call i64 {call}\n"
    else:
        text += f"  call void {call}\n"
    if raises:
        text += "  br i1 %bail, label %slow, label %fast, !prof !99\nfast:\n"
    store, pins = templates.result(pin[0], "%r") if result else ("", {})
    text += store + templates.tail("@hole_next", pins=pins)
    if raises or op.kind == "fp":
        text += "slow:\n" + templates.tail("@hole_slow")
    return templates.template(name, text)


def branch(op: Op, name: str, pin: tuple[int, int, int], back: bool) -> str:
    """A conditional branch; `back` polls before it is taken."""
    text, call = meaning_call(op, pin)
    text += f"""  %r = call i1 {call}
  br i1 %r, label %taken, label %not, !prof !98
taken:
"""
    if back:
        text += f"""{templates.poll()}
  br i1 %calm, label %go, label %stop, !prof !100
stop:
{templates.tail("@hole_slow")}
go:
"""
    text += f"""{templates.add_count()}{templates.tail("@hole_taken", "%c1")}
not:
{templates.tail("@hole_next")}"""
    return templates.template(name, text)


def plan(ops: list[Op], raising: set[str]) -> Plan:
    """Decide everything. `raising`: names of the operations whose meaning can raise (that is, bail out)."""
    made = Plan(texts={**dict(templates.fixed()), **dict(ways.fixed())})
    made.rules.append((Kind.STEP_END, 0, 0, [], []))  # number 0 is no operation
    for op in ops:
        flags, names, table = flags_of(op), [], []
        pins = pins_for(op)
        if op.name in FROM_CONSTANTS:
            kind = Kind.PLAIN
        elif not has_template(op):
            kind = RULES.get(op.kind, Kind.STEP)
        else:
            kind = Kind.BRANCH if op.kind == "branch" else Kind.PLAIN
            for pin in shapes(op, pins):
                for variant in (0, 1) if kind == Kind.BRANCH or flags & Flag.RM else (0,):
                    if flags & Flag.COMMUTES and pin[1] < pin[2]:
                        names.append("")
                        continue
                    names.append(name := f"{op.name}_{pin[0]}_{pin[1]}_{pin[2]}" + ("", "_variant")[variant])
                    if kind == Kind.BRANCH:
                        made.texts[name] = branch(op, name, pin, bool(variant))
                    else:
                        made.texts[name] = plain(op, name, pin, op.name in raising, DYNAMIC * variant)
        if kind == Kind.PLAIN and flags & Flag.MEMORY:
            for pin in shapes(op, pins if flags & Flag.TABLE_PINS else 0):
                table.append(name := f"{op.name}_{pin[0]}_{pin[1]}_{pin[2]}_table")
                made.texts[name] = plain(op, name, pin, True, prefix=TABLE_PREFIX)
        made.rules.append((kind, pins, flags, names, table))
    return made


def families() -> dict[str, list[str]]:
    """The small families, as Library's fields name them, in the order in which the translator numbers them."""
    pins = range(PINNED + 1)
    made = {f: [f"{f}_{p}" for p in pins] for f in ("li", "li64", "jump_register", "call_register")}
    made["mv"] = [f"mv_{p}_{q}" for p in pins for q in pins]
    made["spill"] = ["", *(f"spill_{p}" for p in range(1, PINNED + 1))]
    made["reload"] = ["", *(f"reload_{p}" for p in range(1, PINNED + 1))]
    return made
