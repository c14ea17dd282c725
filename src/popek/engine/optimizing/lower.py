"""From basic blocks of guest instructions to LLVM text.

Lives here: what each instruction does to the values of registers, and the text of blocks. A region keeps registers in
values; memory's copies are out of date until it leaves. So every way out (exits) writes what has changed since the entry.
Not here: the function around the blocks and the ways out (frame), checks of accesses (memory), phis (values).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from popek.engine.optimizing.form import Block, Step
from popek.engine.optimizing.frame import BOX, Count, Exits, Leave, State, boxed
from popek.engine.optimizing.image import PAGE
from popek.engine.optimizing.memory import Access, Check, Checks
from popek.engine.optimizing.tables import Instruction, Layout
from popek.engine.optimizing.values import (
    ENTRY,
    FLOAT_REGISTERS,
    Value,
    address,
    based,
    merged,
    number,
    plain,
    reaching,
    signed,
    written,
)

LOADS = {"lb": (8, "sext"), "lh": (16, "sext"), "lw": (32, "sext"), "ld": (64, "")}
LOADS |= {"lbu": (8, "zext"), "lhu": (16, "zext"), "lwu": (32, "zext")}
STORES = {"sb": 8, "sh": 16, "sw": 32, "sd": 64}
FLOAT_LOADS = {"flw": 32, "fld": 64}
FLOAT_STORES = {"fsw": 32, "fsd": 64}


@dataclass
class Lowered:
    """One block's text, and what holds at its end."""

    text: list[str | Access] = field(default_factory=list)
    end: str | Access = ""  # the label that control leaves from when it goes straight on, and
    taken_end: str | Access = ""  # when the last branch is taken
    registers: list[Value] = field(default_factory=list)
    others: dict[int, Value] = field(default_factory=dict)
    count: Count = Count("%count", 0)
    checks: dict[str, list[Check]] = field(default_factory=dict)
    phis: list[int] = field(default_factory=list)
    counts: bool = False  # has a phi of the count

    def value(self, register: int, type: str) -> str:
        """LLVM's operand for a register at the block's end, in a type that it has there."""
        value = self.registers[register]
        return value.text if value.type == type else self.others[register].text


class Lowering:
    """Makes the text of one region's blocks."""

    def __init__(self, blocks: list[Block], layout: Layout, entry: int, bare: bool) -> None:
        self.blocks = blocks
        self.page = entry & -PAGE
        self.checks = Checks(bare)
        self.made = [Lowered() for _ in blocks]
        self.arriving = reaching(blocks)
        self.dominator = dominators(blocks)
        self.initial = [
            *(number(0) if r == 0 else plain(f"%e{r}") for r in range(FLOAT_REGISTERS)),
            *(Value(f"%e{r}", "double") for r in range(FLOAT_REGISTERS, 2 * FLOAT_REGISTERS)),
        ]
        self.exits = Exits(layout, self.initial)
        self.floats = False
        self.names = 0
        self.cold: list[str] = []  # text out of the way
        # of the block being made
        self.here = self.made[0]
        self.label: str | Access = ""
        self.state = State(self.initial, {})

    # -- names and registers --

    def name(self) -> str:
        """A new local name."""
        self.names += 1
        return f"%v{self.names}"

    def emit(self, line: str) -> None:
        """Add a line to the block."""
        self.here.text.append(f"  {line}")

    def begin(self, label: str) -> None:
        """Begin an LLVM block."""
        self.here.text.append(f"{label}:")
        self.label = label

    def compute(self, text: str) -> Value:
        """An integer from one LLVM instruction."""
        name = self.name()
        self.emit(f"{name} = {text}")
        return plain(name)

    def sum(self, value: Value, offset: int) -> Value:
        """value + offset."""
        if value.constant is not None:
            return address(value.constant + offset) if value.based else number(value.constant + offset)
        total = signed(value.offset + offset)
        if total == 0:
            return plain(value.root)
        made = self.compute(f"add i64 {value.root}, {total}")
        return Value(made.text, root=value.root, offset=total)

    def operand(self, value: Value) -> str:
        """LLVM's operand for a value."""
        if value.text:
            return value.text
        assert value.constant is not None
        lines, text = based(value.constant, self.name)
        self.here.text.extend(lines)
        return text

    def guest(self, pc: int) -> Value:
        """A guest address as a value."""
        return address(pc - self.page)

    def floating(self, register: int, type: str) -> Value | None:
        """f<register> as raw bits in a double, or as a single's number; None if it is not known to be NaN-boxed."""
        value = self.state[FLOAT_REGISTERS + register]
        other = self.state.others.get(FLOAT_REGISTERS + register)
        if value.type == type:
            return value
        if other is None and type == "double":
            lines, text = boxed(value, self.name)
            self.here.text.extend(lines)
            other = self.state.others[FLOAT_REGISTERS + register] = Value(text, "double")
        return other

    def single(self, register: int, leave: str) -> Value:
        """f<register> as a single's number; what is not NaN-boxed is left to the long way."""
        value = self.floating(register, "float")
        if value is not None:
            return value
        raw = self.state[FLOAT_REGISTERS + register].text
        bits = self.compute(f"bitcast double {raw} to i64").text
        ok = self.compute(f"icmp uge i64 {bits}, {BOX}").text
        label = f"boxed{ok[2:]}"
        self.emit(f"br i1 {ok}, label %{label}, label %{leave}, !prof !0")
        self.begin(label)
        low = self.compute(f"trunc i64 {bits} to i32").text
        value = Value(self.compute(f"bitcast i32 {low} to float").text, "float")
        self.state.others[FLOAT_REGISTERS + register] = value
        return value

    # -- blocks --

    def lower(self) -> None:
        """Make all blocks."""
        for block in self.blocks:
            self.block(block)
        for block in self.blocks:
            self.merge(block)

    def block(self, block: Block) -> None:
        """Make one block. All blocks whose definitions reach it alone have been made."""
        n = block.number
        here = self.here = self.made[n]
        registers, others = list(self.initial), {}
        for r, definition in self.arriving[n].items():
            if definition == merged(n):
                here.phis.append(r)
                kind = "double" if r >= FLOAT_REGISTERS else "i64"
                registers[r] = Value(f"%b{n}.{r}", kind, root=f"%b{n}.{r}")
            elif definition != ENTRY:
                registers[r] = self.known(definition, r)
                if definition < merged(0) and r in self.made[definition].others:
                    others[r] = self.made[definition].others[r]
        self.state = State(registers, others)
        sources = len(block.before) + (n == 0)
        here.counts = sources > 1
        if here.counts:
            here.count = Count(f"%b{n}.count", 0)
        elif n != 0:
            here.count = self.made[block.before[0]].count
        if n != 0 and self.dominator[n] != n:
            here.checks = {root: list(known) for root, known in self.made[self.dominator[n]].checks.items()}
        self.begin(f"b{n}")
        for step in block.steps:
            self.step(block, step)
        last = block.steps[-1]
        if not last.transfers:
            self.settle(block)
            self.go(last, block.following)
        here.registers, here.others = self.state.values, self.state.others
        accesses = [a for a in here.text if isinstance(a, Access)]
        self.checks.arrange(accesses, here.checks)

    def known(self, definition: int, register: int) -> Value:
        """The value that a definition gives: a phi's, or what holds at the end of the defining block."""
        if definition >= merged(0):
            n = definition - merged(0)
            return Value(f"%b{n}.{register}", "double" if register >= FLOAT_REGISTERS else "i64", f"%b{n}.{register}")
        return self.made[definition].registers[register]

    def settle(self, block: Block) -> None:
        """At the end of a block: what a phi that follows takes from here must be in its form."""
        for successor in {block.following, block.target} - {None}:
            assert successor is not None
            for r, definition in self.arriving[successor].items():
                if definition != merged(successor):
                    continue
                if r >= FLOAT_REGISTERS:
                    self.floating(r - FLOAT_REGISTERS, "double")
                elif not (value := self.state[r]).text:
                    self.state.set(r, replace(value, text=self.operand(value)))
            if len(self.blocks[successor].before) + (successor == 0) > 1 and self.here.count.add:
                total = self.compute(f"add i64 {self.here.count.text}, {self.here.count.add}").text
                self.here.count = Count(total, 0)

    def merge(self, block: Block) -> None:
        """Put the phis at the beginning of a block."""
        here, n = self.made[block.number], block.number
        edges = []
        for source in dict.fromkeys(block.before):
            made = self.made[source]
            if self.blocks[source].following == n:
                edges.append((made, made.end))
            if self.blocks[source].target == n:
                edges.append((made, made.taken_end))
        phis = []
        for r in here.phis:
            kind = "double" if r >= FLOAT_REGISTERS else "i64"
            parts = [f"[ {made.value(r, kind)}, %{settled(label)} ]" for made, label in edges]
            if n == 0:
                parts.append(f"[ {self.initial[r].text}, %start ]")
            phis.append(f"  %b{n}.{r} = phi {kind} {', '.join(parts)}")
        if here.counts:
            parts = [f"[ {made.count.text}, %{settled(label)} ]" for made, label in edges]
            if n == 0:
                parts.append("[ %count, %start ]")
            phis.append(f"  %b{n}.count = phi i64 {', '.join(parts)}")
        here.text[1:1] = phis

    # -- steps --

    def leave(self, step: Step) -> str:
        """The way out that executes this step the long way."""
        return self.exits.to(Leave.STEP, self.guest(step.pc), self.state, self.here.count)

    def step(self, block: Block, step: Step) -> None:
        """One instruction."""
        i, op = step.instruction, step.instruction.op
        if step.stops:
            self.emit(f"br label %{self.leave(step)}")
            return
        if op.kind in ("branch", "jump", "jump_register"):
            self.transfer(block, step)
            return
        result = self.result(step, i)
        register = written(step)
        if register is not None and result is not None:
            self.state.set(register, result)
        self.here.count = Count(self.here.count.text, self.here.count.add + 1)

    def result(self, step: Step, i: Instruction) -> Value | None:
        """The value that an instruction gives."""
        name = i.op.name
        if name == "lui":
            return number(i.imm)
        if name == "auipc":
            return self.guest(step.pc + i.imm)
        if name == "addi":
            return self.sum(self.state[i.rs1], i.imm)
        if name == "add" and 0 in (i.rs1, i.rs2):
            return self.state[i.rs1 or i.rs2]
        if name == "addiw" and (value := self.state[i.rs1]).constant is not None and not value.based:
            low = value.constant + i.imm & 0xFFFFFFFF
            return number((low ^ 0x80000000) - 0x80000000)
        if name in LOADS or name in FLOAT_LOADS:
            return self.load(step, i)
        if name in STORES or name in FLOAT_STORES:
            self.store(step, i)
            return None
        return self.piece(step, i)

    def access(self, step: Step, address: Value, offset: int, size: int, write: bool) -> str:
        """Check an access; the host's address of what lies at address + offset."""
        offset = signed(address.offset + offset)
        name = self.name()
        access = Access(name, address.root, offset, size, write, self.leave(step), self.label)
        self.here.text.append(access)
        self.label = access
        return name

    def load(self, step: Step, i: Instruction) -> Value:
        bits, extend = LOADS.get(i.op.name) or (FLOAT_LOADS[i.op.name], "float")
        where = self.access(step, self.state[i.rs1], i.imm, bits // 8, False)
        pointer = self.compute(f"inttoptr i64 {where} to ptr").text
        if extend == "float":
            self.floats = True
            kind = "double" if bits == 64 else "float"
            return Value(self.compute(f"load volatile {kind}, ptr {pointer}, align 1").text, kind)
        value = self.compute(f"load volatile i{bits}, ptr {pointer}, align 1")
        return self.compute(f"{extend} i{bits} {value.text} to i64") if extend else value

    def store(self, step: Step, i: Instruction) -> None:
        if i.op.name in STORES:
            bits, value, kind = STORES[i.op.name], self.operand(self.state[i.rs2]), f"i{STORES[i.op.name]}"
        else:
            self.floats = True
            bits = FLOAT_STORES[i.op.name]
            held = self.state[FLOAT_REGISTERS + i.rs2]
            kind = held.type if bits == 32 and held.type == "float" else "double"
            known = self.floating(i.rs2, kind)
            assert known is not None
            value = known.text
        where = self.access(step, self.state[i.rs1], i.imm, bits // 8, True)
        if kind == "double" and bits == 32:
            value, kind = self.compute(f"bitcast double {value} to i64").text, "i32"
        if kind in ("i8", "i16", "i32"):
            value = self.compute(f"trunc i64 {value} to {kind}").text
        pointer = self.compute(f"inttoptr i64 {where} to ptr").text
        self.emit(f"store volatile {kind} {value}, ptr {pointer}, align 1")

    def piece(self, step: Step, i: Instruction) -> Value | None:
        """An instruction by its piece."""
        op = i.op
        assert op.piece is not None
        leave = self.leave(step)
        operands = {"$h$": "%h", "$imm$": str(signed(i.imm))}
        for name in op.parameters:
            if name in ("rs1", "rs2"):
                operands[f"${name}$"] = self.operand(self.state[getattr(i, name)])
            elif name in ("frs1", "frs2", "frs3"):
                register = getattr(i, name[1:])
                value = self.single(register, leave) if op.source_type == "float" else self.floating(register, "double")
                assert value is not None
                operands[f"${name}$"] = value.text
        if op.kind == "fp":
            self.floats = True
        if op.kind == "amo":
            size = 8 if op.name.endswith("_d") else 4
            base = self.state[i.rs1]
            low = self.compute(f"and i64 {self.operand(base)}, {size - 1}").text
            aligned = self.compute(f"icmp eq i64 {low}, 0").text
            label = f"aligned{aligned[2:]}"
            self.emit(f"br i1 {aligned}, label %{label}, label %{leave}, !prof !0")
            self.begin(label)
            operands["$host$"] = self.access(step, base, 0, size, not op.name.startswith("lr_"))
        kind = "i1" if op.kind == "branch" else op.result_type
        text = self.instantiate(op.piece, operands, kind, leave)
        if text is None:
            return None
        return Value(text, kind) if kind != "i64" else plain(text)

    def instantiate(self, piece: tuple[str, ...], operands: dict[str, str], kind: str, leave: str) -> str | None:
        """Put a piece here; its result."""
        self.names += 1
        prefix = f"s{self.names}."
        text = "\n".join(piece).replace("~", prefix)
        for name, value in operands.items():
            text = text.replace(name, value)
        lines = text.split("\n")
        if not any(line.endswith(":") for line in lines):
            for line in lines[:-1]:
                self.here.text.append(line)
            return lines[-1].removeprefix("$result$ ").strip() or None
        if not lines[0].endswith(":"):
            lines.insert(0, f"{prefix}0:")
        self.emit(f"br label %{lines[0][:-1]}")
        results: list[tuple[str, str]] = []
        for line in lines:
            if line.endswith(":"):
                self.begin(line[:-1])
            elif line.startswith("$result$"):
                results.append((line.removeprefix("$result$ ").strip(), settled(self.label)))
                self.emit(f"br label %{prefix}done")
            elif line == "$bail$":
                self.emit(f"br label %{leave}")
            else:
                self.here.text.append(line)
        self.begin(f"{prefix}done")
        if len(results) == 1:
            return results[0][0] or None
        if not results[0][0]:
            return None
        name = self.name()
        self.emit(f"{name} = phi {kind} " + ", ".join(f"[ {v}, %{label} ]" for v, label in results))
        return name

    # -- control --

    def transfer(self, block: Block, step: Step) -> None:
        """A branch or jump at the end of a block."""
        i, op = step.instruction, step.instruction.op
        condition = self.piece(step, i) if op.kind == "branch" else None
        to = self.state[i.rs1] if op.kind == "jump_register" else None
        self.here.count = Count(self.here.count.text, self.here.count.add + 1)
        if written(step) is not None:
            if to is not None:
                to = self.sum(to, i.imm)
            self.state.set(i.rd, self.guest(step.after))
        elif to is not None:
            to = self.sum(to, i.imm)
        self.settle(block)
        if condition is not None:
            taken, straight = f"t{block.number}", f"f{block.number}"
            self.emit(f"br i1 {condition.text}, label %{taken}, label %{straight}")
            self.begin(taken)
            self.take(block, step)
            self.begin(straight)
            self.go(step, block.following)
        elif to is None:
            self.take(block, step)
        else:
            self.indirect(block, step, to)

    def take(self, block: Block, step: Step) -> None:
        """Go to the target of a direct transfer."""
        assert step.goes_to is not None
        backward = step.goes_to <= step.pc
        target = self.guest(step.goes_to)
        if block.target is None:
            kind = Leave.INDIRECT if backward else Leave.FAR
            self.emit(f"br label %{self.exits.to(kind, target, self.state, self.here.count)}")
            return
        self.here.taken_end = self.label
        if backward or step.instruction.op.kind == "jump_register":
            self.poll(block.target, target)
        else:
            self.emit(f"br label %b{block.target}")

    def poll(self, to: int, pc: Value) -> None:
        """Go to a block at a poll point."""
        poll = self.compute("load volatile i32, ptr %poll").text
        calm = self.compute(f"icmp eq i32 {poll}, 0").text
        leave = self.exits.to(Leave.POLL, pc, self.state, self.here.count)
        self.emit(f"br i1 {calm}, label %b{to}, label %{leave}, !prof !0")

    def indirect(self, block: Block, step: Step, to: Value) -> None:
        """A jalr: to where the region expects it to lead, or out."""
        if step.goes_to is not None and to.based and to.constant is not None:
            if (self.page + to.constant) & (1 << 64) - 2 == step.goes_to and block.target is not None:
                self.take(block, step)
                return
        real = to if to.based else self.compute(f"and i64 {self.operand(to)}, -2")
        if to.based and to.constant is not None:
            real = address(to.constant & -2)
        leave = self.exits.to(Leave.INDIRECT, real, self.state, self.here.count)
        if block.target is None or step.goes_to is None:
            self.emit(f"br label %{leave}")
            return
        expected = self.operand(self.guest(step.goes_to))
        same = self.compute(f"icmp eq i64 {self.operand(real)}, {expected}").text
        self.emit(f"br i1 {same}, label %t{block.number}, label %{leave}, !prof !0")
        self.begin(f"t{block.number}")
        self.take(block, step)

    def go(self, step: Step, following: int | None) -> None:
        """Go on behind a step."""
        self.here.end = self.label
        if following is None:
            self.emit(f"br label %{self.exits.to(Leave.FAR, self.guest(step.after), self.state, self.here.count)}")
        else:
            self.emit(f"br label %b{following}")

    # -- the whole --

    def render(self) -> str:
        """The text of all blocks and of what lies out of their way."""
        lines: list[str] = []
        for made in self.made:
            for line in made.text:
                if isinstance(line, Access):
                    text, cold = self.checks.text(line)
                    self.cold.append(cold)
                    lines.append(text)
                else:
                    lines.append(line)
        return "\n".join(lines) + "\n" + "".join(self.cold) + self.exits.text()


def settled(label: str | Access) -> str:
    """The name of the LLVM block that an access ends in, once its check is arranged."""
    while isinstance(label, Access):
        label = label.check.label if label.check is not None else label.before
    return label


def dominators(blocks: list[Block]) -> list[int]:
    """The immediate dominator of each block, by number (Cooper, Harvey, Kennedy: A Simple, Fast Dominance Algorithm)."""
    order: list[int] = []
    seen: set[int] = set()
    stack: list[tuple[int, bool]] = [(0, False)]
    while stack:
        n, done = stack.pop()
        if done:
            order.append(n)
        elif n not in seen:
            seen.add(n)
            stack.append((n, True))
            stack.extend((s, False) for s in (blocks[n].target, blocks[n].following) if s is not None)
    rank = {n: i for i, n in enumerate(order)}  # postorder: the entry has the highest
    found: list[int | None] = [None] * len(blocks)
    found[0] = 0
    changed = True
    while changed:
        changed = False
        for n in reversed(order):
            if n == 0:
                continue
            new: int | None = None
            for b in blocks[n].before:
                if found[b] is None:
                    continue
                if new is None:
                    new = b
                    continue
                one, other = new, b
                while one != other:
                    while rank[one] < rank[other]:
                        one = found[one]  # type: ignore[assignment]
                    while rank[other] < rank[one]:
                        other = found[other]  # type: ignore[assignment]
                new = one
            if new != found[n]:
                found[n], changed = new, True
    return [n if d is None else d for n, d in enumerate(found)]
