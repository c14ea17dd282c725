"""What each instruction does to the values of registers, but for control transfers (control).

Lives here: integer instructions that are better known than by their piece, loads and stores, pieces. A meaning stands
nowhere here: it comes from isa through snippets.
"""

from __future__ import annotations

from popek.engine.optimizing.form import Step
from popek.engine.optimizing.memory import settled
from popek.engine.optimizing.tables import Instruction
from popek.engine.optimizing.values import Value, number, plain, signed, written
from popek.engine.optimizing.writer import Writer

LOADS = {"lb": (8, "sext"), "lh": (16, "sext"), "lw": (32, "sext"), "ld": (64, "")}
LOADS |= {"lbu": (8, "zext"), "lhu": (16, "zext"), "lwu": (32, "zext"), "flw": (32, "float"), "fld": (64, "float")}
STORES = {"sb": 8, "sh": 16, "sw": 32, "sd": 64}
FLOAT_STORES = {"fsw": 32, "fsd": 64}


def execute(w: Writer, step: Step) -> None:
    """One instruction that goes on to the next."""
    result = _result(w, step, step.instruction)
    register = written(step)
    if register is not None and result is not None:
        w.state.set(register, result)
    w.retired(1)
    if step.instruction.op.kind in ("store", "amo", "fp"):
        w.happened()


def _result(w: Writer, step: Step, i: Instruction) -> Value | None:
    """The value that an instruction gives."""
    match i.op.name:
        case "lui":
            return number(i.imm)
        case "auipc":
            return w.guest(step.pc + i.imm)
        case "addi":
            return w.sum(w.state[i.rs1], i.imm)
        case "add":
            return _sum(w, i)
        case "slli":
            made = w.compute(f"shl i64 {w.operand(w.state[i.rs1])}, {i.imm & 63}")
            w.shifted.add(made.text)
            return made
        case "addiw" if (value := w.state[i.rs1]).constant is not None and not value.based:
            low = value.constant + i.imm & 0xFFFFFFFF
            return number((low ^ 0x80000000) - 0x80000000)
        case name if name in LOADS:
            return _load(w, step, i)
        case name if name in STORES or name in FLOAT_STORES:
            _store(w, step, i)
            return None
    return piece(w, step, i)


def _sum(w: Writer, i: Instruction) -> Value:
    """add. Of a shifted index and a base it is remembered what it was made of: see Checks."""
    if 0 in (i.rs1, i.rs2):
        return w.state[i.rs1 or i.rs2]
    one, other = w.operand(w.state[i.rs1]), w.operand(w.state[i.rs2])
    made = w.compute(f"add i64 {one}, {other}")
    if one in w.shifted:
        one, other = other, one
    if other in w.shifted:
        w.halves[made.text] = one, other
    return made


def _load(w: Writer, step: Step, i: Instruction) -> Value:
    bits, extend = LOADS[i.op.name]
    pointer = f"ptr {_pointer(w, w.access(step, w.state[i.rs1], i.imm, bits // 8, False))}, align 1"
    if extend == "float":
        w.floats = True
        kind = "double" if bits == 64 else "float"
        return Value(w.compute(f"load volatile {kind}, {pointer}").text, kind)
    value = w.compute(f"load volatile i{bits}, {pointer}")
    return w.compute(f"{extend} i{bits} {value.text} to i64") if extend else value


def _store(w: Writer, step: Step, i: Instruction) -> None:
    if i.op.name in STORES:
        bits, value, kind = STORES[i.op.name], w.operand(w.state[i.rs2]), f"i{STORES[i.op.name]}"
    else:
        w.floats = True
        bits = FLOAT_STORES[i.op.name]
        held = w.floating(i.rs2, "float") if bits == 32 else None
        held = held or w.bits(i.rs2)
        value, kind = held.text, held.type
    where = w.access(step, w.state[i.rs1], i.imm, bits // 8, True)
    if kind == "double" and bits == 32:
        value, kind = w.compute(f"bitcast double {value} to i64").text, "i32"
    if kind in ("i8", "i16", "i32"):
        value = w.compute(f"trunc i64 {value} to {kind}").text
    w.emit(f"store volatile {kind} {value}, ptr {_pointer(w, where)}, align 1")


def _pointer(w: Writer, host: str) -> str:
    return w.compute(f"inttoptr i64 {host} to ptr").text


def piece(w: Writer, step: Step, i: Instruction) -> Value | None:
    """An instruction by its piece."""
    op = i.op
    assert op.piece is not None
    leave = w.leave(step) if op.kind in ("amo", "fp") or "$bail$" in op.piece else ""
    operands = {"$h$": "%h", "$imm$": str(signed(i.imm))}
    for name in op.parameters:
        if name in ("rs1", "rs2"):
            operands[f"${name}$"] = w.operand(w.state[getattr(i, name)])
        elif name in ("frs1", "frs2", "frs3"):
            register = getattr(i, name[1:])
            value = w.single(register, leave) if op.source_type == "float" else w.bits(register)
            operands[f"${name}$"] = value.text
    if op.kind == "fp":
        w.floats = True
    if op.kind == "amo":
        size = 8 if op.name.endswith("_d") else 4
        base = w.state[i.rs1]
        low = w.compute(f"and i64 {w.operand(base)}, {size - 1}").text
        w.guard(w.compute(f"icmp eq i64 {low}, 0").text, leave, "aligned")
        operands["$host$"] = w.access(step, base, 0, size, not op.name.startswith("lr_"))
    kind = "i1" if op.kind == "branch" else op.result_type
    text = instantiate(w, op.piece, operands, kind, leave)
    if text is None:
        return None
    return plain(text) if kind == "i64" else Value(text, kind)


def instantiate(w: Writer, piece: tuple[str, ...], operands: dict[str, str], kind: str, leave: str) -> str | None:
    """Put a piece here; its result, an operand of type `kind`."""
    prefix = w.name()[1:] + "."
    text = "\n".join(piece).replace("~", prefix)
    for name, value in operands.items():
        text = text.replace(name, value)
    lines = text.split("\n")
    if not any(line.endswith(":") for line in lines):
        w.here.lines.extend(lines[:-1])
        result = lines[-1].removeprefix("$result$").strip()
        w.homes.setdefault(result, w.block)
        return result or None
    if not lines[0].endswith(":"):
        lines.insert(0, f"{prefix}0:")
    w.emit(f"br label %{lines[0][:-1]}")
    results: list[tuple[str, str]] = []
    for line in lines:
        if line.endswith(":"):
            w.begin(line[:-1])
        elif line.startswith("$result$"):
            results.append((line.removeprefix("$result$").strip(), settled(w.label)))
            w.emit(f"br label %{prefix}done")
        elif line == "$bail$":
            w.emit(f"br label %{leave}")
        else:
            w.here.lines.append(line)
    w.begin(f"{prefix}done")
    if not results[0][0]:
        return None
    name = w.name()
    w.emit(f"{name} = phi {kind} " + ", ".join(f"[ {v}, %{label} ]" for v, label in results))
    return name
